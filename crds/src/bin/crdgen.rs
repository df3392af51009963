//! Prints the CustomResourceDefinition as `inferenceservices.yaml` holds it, or with `--markdown` the
//! reference page of its fields.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let text = if std::env::args().any(|argument| argument == "--markdown") {
        candela_crds::reference_page()
    } else {
        candela_crds::definition_yaml()
    };
    std::io::stdout().write_all(text.as_bytes())
}
