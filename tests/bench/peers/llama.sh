#!/usr/bin/env bash
# Prints the folder with llama.cpp: its server and quantizer in bin/, its converter beside them. Built once, for this machine's
# processor, from the sources that `llama-cpp-python` carries on PyPI. Needs a C++ compiler; cmake comes from PyPI where it is missing.
# PYTHON names the interpreter, BENCH_BUILD_JOBS how many compilers run at a time (all processors).
set -euo pipefail
release=0.3.36
cache=${CANDELA_CACHE:-$HOME/.cache/candela}/bench
folder=$cache/llama.cpp-$release
python=${PYTHON:-python3}

if [ ! -e "$folder/complete" ]; then
    echo "bench: building llama.cpp from llama-cpp-python $release into $folder, once (about 15 CPU-minutes)" >&2
    command -v c++ >/dev/null || {
        echo "llama.cpp: needs a C++ compiler (on Debian: g++)" >&2
        exit 1
    }
    rm -rf "$folder"
    mkdir -p "$folder/tools" "$folder/sources"
    if ! cmake=$(command -v cmake); then
        "$python" -m venv "$folder/tools" >&2
        "$folder/tools/bin/python" -m pip install --quiet --disable-pip-version-check cmake >&2
        cmake=$folder/tools/bin/cmake
    fi
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python --dest "$folder/tools" \
        "llama-cpp-python==$release" >&2
    tar -xzf "$folder/tools/llama_cpp_python-$release.tar.gz" -C "$folder/sources" --strip-components=3 \
        "llama_cpp_python-$release/vendor/llama.cpp"
    # Regeneration is asked for by the time stamps of an archive, not by a change.
    "$cmake" -S "$folder/sources" -B "$folder/build" -DCMAKE_SUPPRESS_REGENERATION=ON -DCMAKE_BUILD_TYPE=Release \
        -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >&2
    "$cmake" --build "$folder/build" --parallel "${BENCH_BUILD_JOBS:-$(nproc)}" --target llama-server llama-quantize >&2
    mkdir "$folder/bin"
    cp "$folder/build/bin/llama-server" "$folder/build/bin/llama-quantize" "$folder/bin/"
    mv "$folder/sources/convert_hf_to_gguf.py" "$folder/sources/conversion" "$folder/sources/gguf-py" "$folder/"
    rm -rf "$folder/sources" "$folder/build" "$folder/tools"
    touch "$folder/complete"
fi
echo "$folder"
