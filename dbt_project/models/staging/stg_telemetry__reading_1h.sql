{{ stored_means('1h') }}
