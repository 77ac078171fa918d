{{ stored_means('1d') }}
