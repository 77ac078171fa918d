#!/bin/sh
# Installs into /opt/venv while an image is built: `install.sh dependencies OPTION…` what the product needs (options
# of `uv sync`), then `install.sh product` the product itself, from the code in this directory.
set -eu
uv=/opt/uv/bin/uv

if [ "$1" = dependencies ]; then
    shift
    if [ -z "${PYTHON_INDEX:-}" ]; then
        $uv sync --frozen --no-dev --no-install-project "$@"
    else
        # The lock names PyPI's files; another index serves the same ones, which their hashes prove.
        $uv export --frozen --no-dev --no-emit-project --quiet --output-file /tmp/requirements.txt \
            $(printf '%s\n' "$@" | sed 's/--no-install-package/--no-emit-package/')
        $uv venv --quiet /opt/venv
        UV_DEFAULT_INDEX=$PYTHON_INDEX $uv pip sync --python /opt/venv --require-hashes /tmp/requirements.txt
    fi
    # A third of what is large is never used here: the libraries' own tests, headers for compilers, symbols for debuggers.
    cd /opt/venv/lib/python3*/site-packages
    [ ! -d numpy ] || find numpy -type d -name tests -prune -exec rm -rf {} +
    rm -rf pyarrow/tests pyarrow/include pyarrow/src
    find /opt/venv -path '*.libs' -prune -o -name '*.so' -exec strip --strip-debug {} +
else
    [ -z "${PYTHON_INDEX:-}" ] || export UV_DEFAULT_INDEX="$PYTHON_INDEX"
    $uv pip install --quiet --python /opt/venv --no-deps .
    # What is imported at every start is compiled once, here; all the rest would double the size of an image.
    /opt/venv/bin/collector check >/dev/null
    /opt/venv/bin/python -c 'import collector.commands.run, collector.store.writer, psycopg, timescale.cli, simulator.cli'
fi
