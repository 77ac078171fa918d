#!/bin/sh
# Installs into /opt/venv during the build of an image: `install.sh dependencies OPTION…` installs the dependencies
# (options of `uv sync`), then `install.sh product` the product from the current directory.
set -eu
uv=/opt/uv/bin/uv

if [ "$1" = dependencies ]; then
    shift
    if [ -z "${PYTHON_INDEX:-}" ]; then
        $uv sync --frozen --no-dev --no-install-project "$@"
    else
        # The lock file has the URLs of PyPI; another index serves the same files, verified by their hashes.
        $uv export --frozen --no-dev --no-emit-project --quiet --output-file /tmp/requirements.txt \
            $(printf '%s\n' "$@" | sed 's/--no-install-package/--no-emit-package/')
        $uv venv --quiet /opt/venv
        UV_DEFAULT_INDEX=$PYTHON_INDEX $uv pip sync --python /opt/venv --require-hashes /tmp/requirements.txt
    fi
    # Remove what is not needed at run time, a third of the large packages: tests, headers, debug symbols.
    cd /opt/venv/lib/python3*/site-packages
    [ ! -d numpy ] || find numpy -type d -name tests -prune -exec rm -rf {} +
    rm -rf pyarrow/tests pyarrow/include pyarrow/src
    find /opt/venv -path '*.libs' -prune -o -name '*.so' -exec strip --strip-debug {} +
else
    [ -z "${PYTHON_INDEX:-}" ] || export UV_DEFAULT_INDEX="$PYTHON_INDEX"
    $uv pip install --quiet --python /opt/venv --no-deps .
    # Compile only the modules that are imported at every start; compiling all would double the size of an image.
    /opt/venv/bin/collector check >/dev/null
    /opt/venv/bin/python -c 'import collector.commands.run, collector.store.writer, psycopg, timescale.cli, simulator.cli'
fi
