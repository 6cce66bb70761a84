// An agent made with the published TypeScript SDK, unmodified: says back what it is told, a word at
// a time. "may I" makes it ask for permission first; it can be cancelled, and it has two modes. A
// prompt with more than text is answered with what is in it, as JSON; files are read. What it takes
// beside text and links is in the variable TAKES.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Readable, Writable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";

import * as acp from "@agentclientprotocol/sdk";

const { session: sessions, initialize } = acp.methods.agent;
const { update, requestPermission } = acp.methods.client.session;
const PACE = Number(process.env.PACE ?? 0);

const TAKES = (process.env.TAKES ?? "").split(" ");

const MODES = [
  { id: "plain", name: "Plain" },
  { id: "loud", name: "Loud" },
];
const OPTIONS = [
  { optionId: "yes", name: "Yes", kind: "allow_once" },
  { optionId: "no", name: "No", kind: "reject_once" },
];

const mode = new Map();
const running = new Map();

function modes(sessionId) {
  return { currentModeId: mode.get(sessionId), availableModes: MODES };
}

function begin(sessionId) {
  if (!mode.has(sessionId)) mode.set(sessionId, "plain");
  return { modes: modes(sessionId) };
}

async function allowed(client, sessionId) {
  const toolCallId = randomUUID();
  const toolCall = { toolCallId, title: "Speak up", kind: "other", status: "pending" };
  await client.notify(update, { sessionId, update: { sessionUpdate: "tool_call", ...toolCall } });
  const { outcome } = await client.request(requestPermission, {
    sessionId,
    toolCall,
    options: OPTIONS,
  });
  const granted = outcome.outcome === "selected" && outcome.optionId === "yes";
  const status = granted ? "completed" : "failed";
  await client.notify(update, {
    sessionId,
    update: { sessionUpdate: "tool_call_update", toolCallId, status },
  });
  return granted;
}

function seen(block) {
  switch (block.type) {
    case "resource_link": {
      const { name, mimeType, size } = block;
      return { link: readFileSync(new URL(block.uri), "latin1"), name, mimeType, size };
    }
    case "image":
    case "audio":
      return { [block.type]: Buffer.from(block.data, "base64").toString("latin1") };
    default:
      return { [block.type]: block.text };
  }
}

async function answer({ params, client }) {
  const { sessionId, prompt } = params;
  const cancelled = new AbortController();
  running.set(sessionId, cancelled);
  const said = prompt.flatMap((block) => (block.type === "text" ? [block.text] : [])).join(" ");
  const asks = said.includes("may I");
  if (prompt.some((block) => block.type !== "text")) {
    const content = { type: "text", text: JSON.stringify(prompt.map(seen)) };
    await client.notify(update, {
      sessionId,
      update: { sessionUpdate: "agent_message_chunk", content },
    });
    return { stopReason: "end_turn" };
  }
  const text = asks ? ((await allowed(client, sessionId)) ? "You may." : "You may not.") : said;
  for (const word of text.match(/\S+\s*/g) ?? []) {
    if (PACE) await pause(PACE);
    if (cancelled.signal.aborted) return { stopReason: "cancelled" };
    const spoken = mode.get(sessionId) === "loud" ? word.toUpperCase() : word;
    const content = { type: "text", text: spoken };
    await client.notify(update, {
      sessionId,
      update: { sessionUpdate: "agent_message_chunk", content },
    });
  }
  return { stopReason: "end_turn" };
}

acp
  .agent({ name: "greenroom-tests" })
  .onRequest(initialize, () => ({
    protocolVersion: acp.PROTOCOL_VERSION,
    agentInfo: { name: "greenroom-tests", version: "1.0.0" },
    agentCapabilities: {
      loadSession: true,
      sessionCapabilities: { resume: {} },
      promptCapabilities: { image: TAKES.includes("image"), audio: TAKES.includes("audio") },
    },
    authMethods: [],
  }))
  .onRequest(sessions.new, () => {
    const sessionId = randomUUID();
    return { sessionId, ...begin(sessionId) };
  })
  .onRequest(sessions.load, ({ params }) => begin(params.sessionId))
  .onRequest(sessions.resume, ({ params }) => begin(params.sessionId))
  .onRequest(sessions.setMode, ({ params }) => {
    mode.set(params.sessionId, params.modeId);
    return {};
  })
  .onRequest(sessions.prompt, answer)
  .onNotification(sessions.cancel, ({ params }) => running.get(params.sessionId)?.abort())
  .connect(acp.ndJsonStream(Writable.toWeb(process.stdout), Readable.toWeb(process.stdin)));
