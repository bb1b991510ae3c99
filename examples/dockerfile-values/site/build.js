// Writes the site to /html, where the build mounts its result.
const fs = require("fs");

fs.writeFileSync("/html/index.html", "<!doctype html><title>tools</title>\n");
