// Starts `bkl lsp` and runs what its code lenses name. Everything else is the server's.
"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { execFile } = require("node:child_process");
const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

/** @type {LanguageClient | undefined} */
let client;

function program() {
  return vscode.workspace.getConfiguration("bkl").get("path") || "bkl";
}

async function start() {
  const server = { command: program(), args: ["lsp"] };
  const options = { documentSelector: [{ language: "bkl" }] };
  client = new LanguageClient("bkl", "bkl", server, options);
  try {
    await client.start();
  } catch (error) {
    const install = "Install bkl, or name it in the setting `bkl.path`.";
    vscode.window.showErrorMessage(`Cannot start \`${server.command} lsp\`: ${error.message ?? error}. ${install}`);
  }
}

async function stop() {
  const running = client;
  client = undefined;
  // One that did not start cannot be stopped.
  await running?.stop().catch(() => undefined);
}

/** Runs bkl in a terminal, in the folder of the program. */
async function inTerminal(file, verb, name) {
  await vscode.workspace.textDocuments.find((document) => document.uri.fsPath === file)?.save();
  const task = new vscode.Task(
    { type: "bkl", verb, name },
    vscode.TaskScope.Workspace,
    `${verb} ${name}`,
    "bkl",
    new vscode.ProcessExecution(program(), [verb, "-f", path.basename(file), name], { cwd: path.dirname(file) }),
  );
  task.presentationOptions = { clear: true };
  await vscode.tasks.executeTask(task);
}

/** Draws the graph of a target as a page and opens it. */
async function graph(file, name) {
  await vscode.workspace.textDocuments.find((document) => document.uri.fsPath === file)?.save();
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "bkl-"));
  const page = path.join(folder, `${name}.html`);
  const args = ["graph", "-f", path.basename(file), name, "--format", "html", "-o", page];
  execFile(program(), args, { cwd: path.dirname(file) }, (error, _out, problems) => {
    if (error) {
      vscode.window.showErrorMessage(`bkl graph: ${problems || error.message}`);
    } else {
      vscode.env.openExternal(vscode.Uri.file(page));
    }
  });
}

async function activate(context) {
  const command = (name, run) => context.subscriptions.push(vscode.commands.registerCommand(name, run));
  command("bkl.build", (file, name) => inTerminal(file, "build", name));
  command("bkl.test", (file, name) => inTerminal(file, "test", name));
  command("bkl.graph", graph);
  command("bkl.restart", async () => {
    await stop();
    await start();
  });
  await start();
}

module.exports = { activate, deactivate: stop };
