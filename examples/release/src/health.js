// Ends with 0 when the server answers.
const http = require("http");

http.get("http://127.0.0.1:8080/health", (response) => process.exit(response.statusCode === 200 ? 0 : 1))
  .on("error", () => process.exit(1));
