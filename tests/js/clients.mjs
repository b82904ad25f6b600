// The official TypeScript SDK's clients under one face: version 1 (@modelcontextprotocol/sdk) and
// version 2 (@modelcontextprotocol/client) in each of its modes.
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import * as types from "@modelcontextprotocol/sdk/types.js";

const info = { name: "ringway-tests", version: "1" };
const capabilities = { elicitation: {}, sampling: {}, roots: {} };
const schemas = {
  "elicitation/create": types.ElicitRequestSchema,
  "sampling/createMessage": types.CreateMessageRequestSchema,
  "roots/list": types.ListRootsRequestSchema,
  "notifications/message": types.LoggingMessageNotificationSchema,
  "notifications/resources/updated": types.ResourceUpdatedNotificationSchema,
  "notifications/tools/list_changed": types.ToolListChangedNotificationSchema,
};

async function connectV1(url, handlers) {
  const client = new ClientV1(info, { capabilities });
  for (const [method, handler] of Object.entries(handlers)) {
    if (method.startsWith("notifications/")) client.setNotificationHandler(schemas[method], handler);
    else client.setRequestHandler(schemas[method], handler);
  }
  const transport = new TransportV1(url);
  await client.connect(transport);
  const call = (name, args = {}, options) =>
    client.callTool({ name, arguments: args }, undefined, options);
  return { client, call, version: transport.protocolVersion, close: () => client.close() };
}

function connectV2(mode) {
  return async (url, handlers) => {
    const client = new ClientV2(info, { capabilities, versionNegotiation: { mode } });
    for (const [method, handler] of Object.entries(handlers)) {
      if (method.startsWith("notifications/")) client.setNotificationHandler(method, handler);
      else client.setRequestHandler(method, handler);
    }
    await client.connect(new TransportV2(url));
    const call = (name, args = {}, options) => client.callTool({ name, arguments: args }, options);
    const version = client.getNegotiatedProtocolVersion();
    return { client, call, version, close: () => client.close() };
  };
}

export const kinds = {
  "sdk 1": { connect: connectV1, version: "2025-11-25" },
  "client 2 legacy": { connect: connectV2("legacy"), version: "2025-11-25" },
  "client 2 modern": { connect: connectV2({ pin: "2026-07-28" }), version: "2026-07-28" },
  "client 2 auto": { connect: connectV2("auto"), version: "2026-07-28" },
};

// Connects, runs `use`, and closes whatever happens.
export async function withClient(kind, url, handlers, use) {
  const connected = await kinds[kind].connect(url, handlers);
  try {
    return await use(connected);
  } finally {
    await connected.close();
  }
}
