//! Prints the CustomResourceDefinition as `inferenceservices.yaml` holds it.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(candela_crds::definition_yaml().as_bytes())
}
