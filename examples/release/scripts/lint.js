// No tabs, no blanks at the ends of lines.
const fs = require("fs");

let n_bad = 0;
for (const file of fs.readdirSync("src").sort()) {
  fs.readFileSync(`src/${file}`, "utf8").split("\n").forEach((line, at) => {
    if (/\t|\s$/.test(line)) {
      console.error(`src/${file}:${at + 1}: a tab, or a blank at the end`);
      n_bad += 1;
    }
  });
}
process.exit(n_bad === 0 ? 0 : 1);
