#!/bin/sh
# Install a wheel into a new environment, then decode and encode the real stream.
#
#     sh tests/wheel_test.sh PYTHON ENVIRONMENT WHEEL [--tests [ARGS]]
#
# With --tests, run the tests too; ARGS go to pytest. Tests that need other programs are skipped.
set -eu
python=$1 environment=$2 wheel=$3 tests=${4:-}
[ $# -lt 4 ] || shift
shift 3
if command -v cargo || command -v rustc; then
    echo "a Rust toolchain is on the PATH: this would not prove that the wheel needs none" >&2
    exit 1
fi
"$python" -m venv --clear "$environment"
environment=$(cd "$environment" && pwd)
requirements=cli
[ "$tests" != --tests ] || requirements=development
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    --requirement "requirements/$requirements.txt"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$wheel"
source=$PWD
# Not in the folder with the Python package.
cd "$environment"
bin/python -c 'import sys, fastdimse._core as core; print(sys.version, core.__file__, sep="\n")'
bin/fastdimse decode "$source/examples/orthanc-storage-commitment.pcap"
bin/python "$source/examples/real_stream.py"
[ "$tests" = --tests ] || exit 0
cd "$source"
exec "$environment/bin/python" -m pytest --quiet --numprocesses 2 "$@"
