// Says its version on every path.
const http = require("http");
const { answer } = require("./answer.js");

http.createServer((request, response) => response.end(answer(request.url))).listen(8080);
