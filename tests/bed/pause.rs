//! Holds a pod's namespaces open. The runtime ends it with SIGKILL, so it need not listen for anything.

fn main() {
    loop {
        std::thread::park();
    }
}
