// Copies the sources into dist, with the version in its place.
const fs = require("fs");

const version = process.argv[process.argv.indexOf("--version") + 1];
fs.mkdirSync("dist", { recursive: true });
for (const file of fs.readdirSync("src")) {
  fs.writeFileSync(`dist/${file}`, fs.readFileSync(`src/${file}`, "utf8").replace("VERSION", version));
}
