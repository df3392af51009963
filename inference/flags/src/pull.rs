//! The flags of `candela-engine pull`, which brings a model to this machine and ends.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::Parser;

use crate::{LogFormat, engine::normalize_arguments};

/// Download a model into the cache that the engine serves from, or check what is there, and print where
/// it is
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(
    name = "candela-engine pull",
    override_usage = "candela-engine pull [OPTIONS] <MODEL>",
    version
)]
pub struct PullFlags {
    /// hf://org/repo[/file.gguf][@revision], s3://bucket/prefix or oci://registry/repository:tag
    #[arg(value_name = "MODEL")]
    pub model: String,

    /// Folder that keeps downloaded models; processes and pods may share it
    /// [default: candela/models in the user's cache]
    #[arg(long, value_name = "FOLDER")]
    pub download_dir: Option<PathBuf>,

    /// Allow downloads over plain http from other machines than this one
    #[arg(long)]
    pub download_plain_http: bool,

    /// Read every file that is there already, compare it with its checksum, and fetch what is damaged
    #[arg(long)]
    pub verify: bool,

    /// Symbolic link to the model, made in place of one that is there: its name stays when the model's version changes
    #[arg(long, value_name = "PATH")]
    pub link: Option<PathBuf>,

    /// File for what came of it, in JSON: Kubernetes' termination message, for instance
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Serve GET /progress at this address meanwhile
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,

    /// Form of the log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Parses a command line whose first item is the command, `pull`.
///
/// # Errors
/// clap's error, which also carries `--help` and `--version`.
pub fn parse_pull_flags(
    args: impl IntoIterator<Item = OsString>,
) -> Result<PullFlags, clap::Error> {
    PullFlags::try_parse_from(normalize_arguments(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<PullFlags, clap::Error> {
        parse_pull_flags(["pull"].iter().chain(args).map(OsString::from))
    }

    #[test]
    fn a_model_is_all_that_is_needed() {
        let flags = parse(&["hf://a/b"]).unwrap();
        let wanted = PullFlags {
            model: "hf://a/b".into(),
            download_dir: None,
            download_plain_http: false,
            verify: false,
            link: None,
            report: None,
            listen: None,
            log_format: LogFormat::Text,
        };
        assert_eq!(flags, wanted);
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn flags_are_spelled_as_the_engine_spells_them() {
        let flags = parse(&["m", "--download_dir=/a_b", "--verify", "--log-format=json"]).unwrap();
        assert_eq!(flags.download_dir, Some(PathBuf::from("/a_b")));
        assert!(flags.verify && flags.log_format == LogFormat::Json);
        let flags = parse(&["m", "--link=/m", "--report=/r", "--listen=0.0.0.0:8000"]).unwrap();
        assert_eq!(flags.link, Some(PathBuf::from("/m")));
        assert_eq!(flags.report, Some(PathBuf::from("/r")));
        assert_eq!(flags.listen.map(|address| address.port()), Some(8000));
    }
}
