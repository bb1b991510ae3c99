const version = "VERSION";

exports.answer = (url) => (url === "/health" ? "ok\n" : `web ${version}\n`);
