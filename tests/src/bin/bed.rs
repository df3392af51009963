//! The test bed's program: a Kubernetes on this machine to work with by hand, and container images.
#![expect(
    clippy::print_stdout,
    reason = "what this program prints is what it is called for"
)]

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use candela_tests::bed::{self, Extent};
use candela_tests::image::{self, Image};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "bed",
    about = "A real Kubernetes on this machine, and images for it"
)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a bed and keep it until standard input closes (Ctrl-D).
    Up {
        /// The folder of kube-apiserver and the rest, as `tests/bed/kube/build.sh` prints it.
        #[arg(long)]
        programs: PathBuf,
        /// Only the API server and the controllers, on loopback: needs no root.
        #[arg(long)]
        control_plane: bool,
        /// How many nodes, up to two.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        nodes: u8,
        /// Image archives to put on the nodes.
        images: Vec<PathBuf>,
    },
    /// Write the image archive of a program.
    Image {
        /// Repository and tag.
        #[arg(long)]
        reference: String,
        /// The program, which becomes the entry point: statically linked, or with its loader and libraries below.
        #[arg(long)]
        program: PathBuf,
        /// A file of this machine, and its path in the image.
        #[arg(long, value_name = "FILE=PATH", value_parser = library)]
        library: Vec<(PathBuf, PathBuf)>,
        /// A variable of the image.
        #[arg(long, value_name = "NAME=VALUE")]
        environment: Vec<String>,
        /// The archive to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// The first process of a bed's namespaces.
    #[command(hide = true)]
    Init { arguments: Vec<OsString> },
    /// What brings a bed up.
    #[command(hide = true)]
    Inside {
        run_folder: PathBuf,
        programs: PathBuf,
        nodes: usize,
    },
    /// What brings a control plane up.
    #[command(hide = true)]
    ControlPlane {
        run_folder: PathBuf,
        programs: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Verb::Up {
            programs,
            control_plane,
            nodes,
            images,
        } => {
            let extent = if control_plane {
                Extent::ControlPlane
            } else {
                Extent::Cluster {
                    nodes: nodes.into(),
                }
            };
            up(extent, &programs, &images)
        }
        Verb::Image {
            reference,
            program,
            library,
            environment,
            out,
        } => {
            let size = image::write(
                &Image {
                    reference,
                    program,
                    ca_certificates: true,
                    libraries: library,
                    environment,
                },
                &out,
            )?;
            println!("{:8.1} MB  {}", size as f64 / 1e6, out.display());
            Ok(())
        }
        Verb::Init { arguments } => bed::init(&arguments),
        Verb::Inside {
            run_folder,
            programs,
            nodes,
        } => bed::inside(&run_folder, &programs, nodes),
        Verb::ControlPlane {
            run_folder,
            programs,
        } => bed::control_plane(&run_folder, &programs),
    }
}

fn library(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let (file, path) = text
        .split_once('=')
        .ok_or("give FILE=PATH: a file of this machine, and its path in the image")?;
    Ok((file.into(), path.into()))
}

fn up(extent: Extent, programs: &Path, images: &[PathBuf]) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    bed::with(extent, &program, programs, |bed| {
        for image in images {
            bed.import_image(image)?;
        }
        let enter = bed.write_enter_script()?;
        println!("KUBECONFIG={}", bed.kubeconfig().display());
        println!(
            "in the bed's network: {} kubectl get nodes",
            enter.display()
        );
        println!("Ctrl-D removes the bed");
        std::io::stdin()
            .read_to_end(&mut Vec::new())
            .context("reading standard input")?;
        Ok(())
    })
}
