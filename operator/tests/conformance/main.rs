//! One file of checks for two API servers: the one in memory that faults are injected on, and a real one. The real one is
//! that of the kubeconfig in `CANDELA_CONFORMANCE_KUBECONFIG`; the InferenceService's definition must be there. Without
//! the variable only the one in memory is held to the checks, and the test says so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checks;
#[expect(dead_code, reason = "other suites use the rest of it")]
#[path = "../fake/mod.rs"]
mod fake;

use std::env;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::runtime::Builder;

/// Names the file with the way to a real API server.
const KUBECONFIG: &str = "CANDELA_CONFORMANCE_KUBECONFIG";

#[test]
fn the_server_in_memory_passes() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let fake = fake::Fake::default();
        checks::all(&fake.client("test"), fake::NAMESPACE).await;
    });
}

#[test]
fn a_real_server_passes() {
    let Ok(path) = env::var(KUBECONFIG) else {
        eprintln!("{KUBECONFIG} is not set: only the server in memory was checked");
        return;
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let kubeconfig = Kubeconfig::read_from(path).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap();
        let client = Client::try_from(config).unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace =
            serde_json::from_value(json!({"metadata": {"generateName": "conformance-"}}));
        let made = namespaces
            .create(&PostParams::default(), &namespace.unwrap())
            .await
            .unwrap();
        let name = made.metadata.name.unwrap();
        checks::all(&client, &name).await;
        checks::owners_take_their_objects_along(&client, &name).await;
        namespaces
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
    });
}
