// An MCP server of the official TypeScript SDK whose tools do nothing: `sdk_server.mjs PORT`.
import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { createServer } from "node:http";
import { z } from "zod";

const told = (text) => ({ content: [{ type: "text", text }] });
const large = told("x".repeat(1 << 20));
const inputSchema = z.object({ order: z.number().int() });

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: "bench", version: "1" });
  server.registerTool("look", { description: "Looks at an order.", inputSchema }, () => told("paid"));
  server.registerTool("large", { description: "Gives a large answer.", inputSchema }, () => large);
  server.registerTool("change", { description: "Changes an order.", inputSchema }, () => told("changed"));
  return server;
});
createServer(toNodeHandler(handler)).listen(Number(process.argv[2]), "127.0.0.1");
