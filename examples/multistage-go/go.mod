module ghcr.io/acme/app

go 1.26
