module registry.local/fm

go 1.14
