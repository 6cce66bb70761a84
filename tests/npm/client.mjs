// The published TypeScript SDK as a client, unmodified.
//
//     node client.mjs talk ws URL             over a WebSocket
//     node client.mjs talk stdio COMMAND ...  over the pipes of a process
//     node client.mjs load ID ws URL          a session again, with its history; or with stdio
//     node client.mjs files ws URL            a prompt with files of all kinds; or with stdio
//
// Prints what it saw as JSON.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { Readable, Writable } from "node:stream";

import * as acp from "@agentclientprotocol/sdk";
import { createWebSocketStream } from "@agentclientprotocol/sdk/experimental/ws-client";
import { WebSocket } from "ws";

const { session: sessions, initialize } = acp.methods.agent;
const seen = [];
const questions = [];
let onUpdate = () => {};

const app = acp
  .client({ name: "greenroom-tests" })
  .onNotification(acp.methods.client.session.update, ({ params }) => {
    seen.push(params.update);
    onUpdate(params.update);
  })
  .onRequest(acp.methods.client.session.requestPermission, ({ params }) => {
    questions.push(params.toolCall.title);
    return { outcome: { outcome: "selected", optionId: params.options[0].optionId } };
  });

function textOf(kind) {
  return seen
    .filter((update) => update.sessionUpdate === kind)
    .map((update) => update.content.text);
}

function say(agent, sessionId, text) {
  return agent.request(sessions.prompt, { sessionId, prompt: [{ type: "text", text }] });
}

async function talk(agent) {
  const { sessionId } = await agent.request(sessions.new, { cwd: process.cwd(), mcpServers: [] });
  const first = await say(agent, sessionId, "hello there");
  const pieces = textOf("agent_message_chunk");
  const second = await say(agent, sessionId, "again");
  const began = new Promise((resolve) => (onUpdate = resolve));
  const long = say(agent, sessionId, "word ".repeat(1000));
  await began;
  await agent.notify(sessions.cancel, { sessionId });
  const cancelled = await long;
  const { sessions: listed } = await agent.request(sessions.list, {});
  const { configOptions } = await agent.request(sessions.setConfigOption, {
    sessionId,
    configId: "queue_mode",
    value: "followup",
  });
  return {
    session: sessionId,
    pieces,
    stopReasons: [first, second, cancelled].map((answer) => answer.stopReason),
    listed: listed.map((each) => each.sessionId),
    mode: configOptions.find((each) => each.id === "queue_mode").currentValue,
  };
}

function encoded(text) {
  return Buffer.from(text).toString("base64");
}

async function files(agent) {
  const { sessionId } = await agent.request(sessions.new, { cwd: process.cwd(), mcpServers: [] });
  const pdf = { uri: "file:///home/me/a%20b.pdf", blob: encoded("paper"), mimeType: "application/pdf" };
  const prompt = [
    { type: "text", text: "look" },
    { type: "image", data: encoded("image"), mimeType: "image/png", uri: "file:///home/me/cat.png" },
    { type: "audio", data: encoded("sound"), mimeType: "audio/wav" },
    { type: "resource", resource: { uri: "file:///notes.md", text: "# Notes" } },
    { type: "resource", resource: pdf },
    { type: "resource_link", name: "page", uri: "https://example.org/page" },
  ];
  const { stopReason } = await agent.request(sessions.prompt, { sessionId, prompt });
  const answer = textOf("agent_message_chunk").join("");
  const bad = [{ type: "image", data: "no base64!", mimeType: "image/png" }];
  const refused = await agent.request(sessions.prompt, { sessionId, prompt: bad }).then(
    () => null,
    ({ code, data }) => ({ code, path: data?.path }),
  );
  return { session: sessionId, stopReason, answer, refused };
}

async function load(agent, sessionId) {
  await agent.request(sessions.load, { sessionId, cwd: process.cwd(), mcpServers: [] });
  return { asked: textOf("user_message_chunk"), answered: textOf("agent_message_chunk") };
}

async function connect(how, ...target) {
  if (how === "ws") {
    return { stream: createWebSocketStream(target[0], { WebSocket }), end: async () => null };
  }
  const [command, ...rest] = target;
  const child = spawn(command, rest, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  return {
    stream: acp.ndJsonStream(Writable.toWeb(child.stdin), Readable.toWeb(child.stdout)),
    end: async () => {
      child.stdin.end();
      return (await ended)[0];
    },
  };
}

const [what, ...rest] = process.argv.slice(2);
const subject = what === "load" ? [rest.shift()] : [];
const { stream, end } = await connect(...rest);
const result = await app.connectWith(stream, async (agent) => {
  const greeting = await agent.request(initialize, {
    protocolVersion: acp.PROTOCOL_VERSION,
    clientCapabilities: {},
  });
  const work = { talk, load, files }[what];
  const saw = await work(agent, ...subject);
  const can = greeting.agentCapabilities.promptCapabilities;
  return { ...saw, name: greeting.agentInfo.name, can, questions };
});
console.log(JSON.stringify({ ...result, exit: await end() }));
