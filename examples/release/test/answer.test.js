const assert = require("node:assert");
const { test } = require("node:test");
const { answer } = require("../src/answer.js");

test("health is ok", () => assert.strictEqual(answer("/health"), "ok\n"));
test("everything else is the version", () => assert.match(answer("/"), /^web /));
