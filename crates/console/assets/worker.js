// The console's service worker. It says when there is no connection, and shows what the gateway pushes. It keeps one page, the
// style and the mark, which are the same for everybody; it never keeps, reads or changes anything that needs a session, and
// it decides nothing: a tap opens a page.
"use strict";

const KEPT = `countersign-${RELEASE}`;
const OFFLINE = "/offline";
const SAME_FOR_ALL = ["/assets/console.css", "/assets/icon.svg"];

self.addEventListener("install", (event) => event.waitUntil((async () => {
  const kept = await caches.open(KEPT);
  // Without cookies: what is kept is what a stranger is shown.
  const fresh = (path) => new Request(path, { cache: "reload", credentials: "omit" });
  await kept.addAll([OFFLINE, ...SAME_FOR_ALL].map(fresh));
  await self.skipWaiting();
})()));

self.addEventListener("activate", (event) => event.waitUntil((async () => {
  const old = (await caches.keys()).filter((name) => name.startsWith("countersign-") && name !== KEPT);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
})()));

// Pages that are opened, where the network does not bring them. Everything else goes by untouched.

const opens = (path) => path === "/" || path === "/account" || path === "/approvals" || /^\/approvals\/[A-Za-z0-9_]+(\/decide)?$/.test(path);

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== self.location.origin) return;
  const page = request.mode === "navigate" && opens(pathname);
  if (!page && !SAME_FOR_ALL.includes(pathname)) return;
  event.respondWith(fetch(request).catch(async () => {
    const kept = await caches.open(KEPT);
    return (await kept.match(page ? OFFLINE : pathname)) ?? Response.error();
  }));
});

// What the gateway pushes. It comes encrypted for this browser alone.

const UNREADABLE = { what: "ask", tag: "countersign", path: "/", title: "Countersign", lines: ["Something waits. Open it to see what."] };

function read(data) {
  try {
    const note = data.json();
    const texts = [note.title, note.tag, note.path, ...note.lines];
    return texts.every((text) => typeof text === "string") ? note : UNREADABLE;
  } catch {
    return UNREADABLE;
  }
}

function deadline(until) {
  const moment = Date.parse(until ?? "");
  if (Number.isNaN(moment)) return [];
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  return [`until ${format.format(moment)}`];
}

self.addEventListener("push", (event) => {
  const note = read(event.data);
  const over = note.what === "over";
  event.waitUntil(self.registration.showNotification(note.title, {
    body: [...note.lines, ...deadline(note.until)].join("\n"),
    // What is shown under the same tag is replaced; of what is over, without a sound.
    tag: note.tag,
    renotify: !over,
    silent: over,
    requireInteraction: note.what === "ask",
    icon: "/assets/icon-192.png",
    badge: "/assets/badge-96.png",
    data: { path: note.path },
  }));
});

// A browser that gives up a subscription cannot be told any more; only its owner, signed in, can change that.
self.addEventListener("pushsubscriptionchange", (event) => {
  event.waitUntil(self.registration.showNotification("This device is not told any more", {
    body: "Open your account in Countersign, and add it again.",
    tag: "countersign",
    data: { path: "/account" },
  }));
});

/** The address of a page of this console, whatever was asked for. */
function address(path) {
  try {
    const url = new URL(path, self.location.origin);
    if (url.origin === self.location.origin && opens(url.pathname)) return url;
  } catch {
    // Whatever it was, it is no address.
  }
  return new URL("/", self.location.origin);
}

async function open(url) {
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  // Both pages of an approval show how it stands.
  const page = (path) => path.replace(/\/decide$/, "");
  const there = windows.find((one) => page(new URL(one.url).pathname) === page(url.pathname) && url.search === "");
  if (there) return there.focus();
  // A list may be left; another approval may hold a reason that somebody is writing.
  const list = windows.find((one) => ["/", "/approvals"].includes(new URL(one.url).pathname));
  // A window that is not this worker's cannot be led anywhere.
  const led = await list?.navigate(url.href).catch(() => null);
  return led ? led.focus() : self.clients.openWindow(url.href);
}

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(address(event.notification.data?.path)));
});
