// Runs the tests with node's own coverage; the report is written even when they fail.
const { spawnSync } = require("child_process");
const fs = require("fs");

const tests = spawnSync("node", ["--test", "--experimental-test-coverage", "test/"], { encoding: "utf8" });
fs.mkdirSync("coverage", { recursive: true });
fs.writeFileSync("coverage/report.txt", tests.stdout);
process.exit(tests.status);
