"""Downloads from the hub of the tests with huggingface_hub, and compares with what the engine downloads."""

import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def check(name, holds):
    print(f"{'ok    ' if holds else 'FAILED'} {name}")
    return bool(holds)


def main(programs, model):
    hub = subprocess.Popen(
        [programs / "examples" / "hub", model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        endpoint, repo, commit = hub.stdout.readline().split()
        with tempfile.TemporaryDirectory() as folder:
            return compare(Path(folder), endpoint, repo, commit, programs, model)
    finally:
        hub.stdin.close()
        hub.wait(timeout=60)


def compare(folder, endpoint, repo, commit, programs, model):
    # Read when the module is imported.
    os.environ.update(HF_ENDPOINT=endpoint, HF_HOME=str(folder / "home"), HF_HUB_DISABLE_PROGRESS_BARS="1")
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, snapshot_download

    api = HfApi()
    results = [check("a branch names a commit", api.model_info(repo).sha == commit)]
    tree = {entry.path: entry for entry in api.list_repo_tree(repo, recursive=True)}
    files = {path.name: path for path in model.iterdir() if path.is_file()}
    results.append(check("the listing has every file", tree.keys() == files.keys()))
    sizes = all(tree[name].size == path.stat().st_size for name, path in files.items())
    results.append(check("the listing has their sizes", sizes))
    large = tree["model.safetensors"].lfs
    metadata = get_hf_file_metadata(hf_hub_url(repo, "model.safetensors"))
    results.append(check("a large file's headers agree with the listing", large and metadata.etag == large.sha256))
    results.append(check("a file's headers have the commit", metadata.commit_hash == commit))
    theirs = Path(snapshot_download(repo))
    results.append(check("a snapshot is kept under the commit", theirs.name == commit))
    same = all(filecmp.cmp(theirs / name, path, shallow=False) for name, path in files.items())
    results.append(check("huggingface_hub downloads the files as they are", same))
    ours = subprocess.run(
        [programs / "candela-engine", "pull", f"hf://{repo}", f"--download-dir={folder / 'ours'}"],
        stdout=subprocess.PIPE, text=True, check=True,
    )
    ours = Path(ours.stdout.strip())
    needed = ["config.json", "tokenizer.json", "model.safetensors"]
    same = all(filecmp.cmp(theirs / name, ours / name, shallow=False) for name in needed)
    results.append(check("the engine downloads the same", same and ours.name == commit))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
