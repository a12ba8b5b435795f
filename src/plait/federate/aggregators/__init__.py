"""Rules that turn the clients' changes into one."""
