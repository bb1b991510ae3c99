// Writes a page of HTML per text in pages/, and which words are on which page.
const fs = require("fs");
const path = require("path");

const options = {};
for (let i = 2; i < process.argv.length; i += 2) {
  options[process.argv[i].replace(/^--/, "")] = process.argv[i + 1];
}

const index = {};
for (const file of fs.readdirSync("pages").sort()) {
  const text = fs.readFileSync(path.join("pages", file), "utf8");
  const page = path.basename(file, ".md") + ".html";
  const [title, ...body] = text.trim().split("\n");
  const html = `<!doctype html><title>${title.replace(/^# /, "")}</title>\n<p>${body.join("\n").trim()}</p>\n`;
  fs.writeFileSync(path.join(options.out, page), html);
  for (const word of new Set(text.toLowerCase().match(/[a-z]{4,}/g))) {
    (index[word] = index[word] || []).push(page);
  }
}
fs.writeFileSync(path.join(options.index, "words.json"), JSON.stringify(index, null, 1) + "\n");
