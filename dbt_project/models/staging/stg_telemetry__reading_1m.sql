{{ stored_means('1m') }}
