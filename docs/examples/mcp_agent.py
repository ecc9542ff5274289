"""An agent that calls one tool through the gateway, and tells what it hears while people decide:

    export COUNTERSIGN_TOKEN=csn_...
    python3 mcp_agent.py http://127.0.0.1:7201/mcp delete_rows '{"table": "orders", "count": 14}'

It uses the official SDK (`pip install mcp`). Without a tool it lists those that it may call.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client


async def heard(value, total, message):
    print("..", message, flush=True)


async def main(url, tool=None, arguments="{}"):
    headers = {"Authorization": f"Bearer {os.environ['COUNTERSIGN_TOKEN']}"}
    # A call that people are asked about sends a sign of life every few seconds.
    timeout = httpx2.Timeout(30, read=60)
    async with httpx2.AsyncClient(headers=headers, timeout=timeout) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            if tool is None:
                for known in (await client.list_tools()).tools:
                    print(known.name, "-", known.description)
                return 0
            result = await client.call_tool(tool, json.loads(arguments), progress_callback=heard)
            print("".join(getattr(part, "text", "") for part in result.content))
            return 1 if result.is_error else 0


sys.exit(asyncio.run(main(*sys.argv[1:])))
