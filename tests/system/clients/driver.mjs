// What the programs around the libraries from npm share: an OAuth provider that keeps everything in a file under HOME
// and opens BROWSER, and the conversation with the test: a line of tools, then a line for each call.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { basename } from "node:path";
import { createInterface } from "node:readline";

const FILE = `${process.env.HOME}/credentials.json`;

export class FileProvider {
  #kept = read();
  #callbacks = [];
  #waiting = [];

  // With `--client-metadata-url URL` on the command line, the URL of the document that the client is known by.
  static async listening() {
    const provider = new FileProvider();
    const option = process.argv.indexOf("--client-metadata-url");
    if (option > 0) provider.clientMetadataUrl = process.argv[option + 1];
    provider.server = createServer((request, response) => {
      response.end("Connected.");
      const parameters = new URL(request.url, "http://127.0.0.1").searchParams;
      const next = provider.#waiting.shift();
      next ? next(parameters) : provider.#callbacks.push(parameters);
    });
    provider.server.listen(0, "127.0.0.1");
    await once(provider.server, "listening");
    return provider;
  }

  get redirectUrl() {
    return `http://127.0.0.1:${this.server.address().port}/callback`;
  }

  get clientMetadata() {
    // A name of its own for each program: who registers the same shares a record, and tests count what was done with it.
    return { client_name: `Example app: ${basename(process.argv[1])}`, redirect_uris: [this.redirectUrl] };
  }

  clientInformation() { return this.#kept.client; }
  saveClientInformation(client) { this.#keep({ client }); }
  // Without this, the AI SDK takes it for a client that was registered beforehand, and never registers again.
  isClientInformationDynamicallyRegistered() { return this.#kept.client !== undefined; }
  tokens() { return this.#kept.tokens; }
  saveTokens(tokens) { this.#keep({ tokens }); }
  codeVerifier() { return this.#kept.verifier; }
  saveCodeVerifier(verifier) { this.#keep({ verifier }); }
  discoveryState() { return this.#kept.discovery; }
  saveDiscoveryState(discovery) { this.#keep({ discovery }); }

  invalidateCredentials(scope) {
    const names = scope === "all" ? Object.keys(this.#kept) : [scope];
    this.#keep(Object.fromEntries(names.map((name) => [name, undefined])));
  }

  // Other processes of the same application read the file.
  #keep(changes) {
    Object.assign(this.#kept, changes);
    const draft = `${FILE}.${process.pid}`;
    writeFileSync(draft, JSON.stringify(this.#kept));
    renameSync(draft, FILE);
  }

  redirectToAuthorization(url) {
    spawn(process.env.BROWSER, [url.href], { stdio: "ignore" });
  }

  // The parameters that the browser brought back.
  cameBack() {
    const parameters = this.#callbacks.shift();
    return parameters ? Promise.resolve(parameters) : new Promise((resolve) => this.#waiting.push(resolve));
  }
}

function read() {
  try {
    return JSON.parse(readFileSync(FILE, "utf-8"));
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
    return {};
  }
}

// `connect()` answers a connected client, `call(client, tool, arguments)` the result of a tool.
export async function converse(provider, connect, call) {
  const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  try {
    const client = await connect();
    tell((await client.listTools()).tools.map((tool) => tool.name));
    for await (const line of createInterface({ input: process.stdin })) {
      const result = await call(client, ...JSON.parse(line));
      tell({ structured: result.structuredContent, text: result.content.map((part) => part.text ?? "") });
    }
    await client.close();
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    provider.server.close();
    provider.server.closeAllConnections();
    process.stdin.destroy();
  }
}
