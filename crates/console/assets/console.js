// The console's one script: what cannot be done without one. Pages are whole before it runs. Text that comes from
// elsewhere is only ever put into text nodes; fragments are drawn by the gateway, which escapes them.
"use strict";

const $ = (id) => document.getElementById(id);
const csrf = () => document.querySelector('meta[name="csrf"]')?.content ?? "";

class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? "the gateway did not answer as expected");
    this.status = status;
    this.code = problem.code;
    this.hint = problem.hint;
  }
}

async function api(method, path, body, token, seen) {
  const headers = { Accept: "application/json" };
  if (seen !== undefined) headers["If-Match"] = `"${seen}"`;
  if (method !== "GET") headers["X-Countersign-CSRF"] = token ?? csrf();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Refused(0, { detail: "the gateway cannot be reached" });
  }
  const text = await response.text();
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { value = null; }
  if (!response.ok) throw new Refused(response.status, value ?? {});
  return value;
}

// Words for people.

function say(words, tone, element = $("outcome")) {
  if (!element) return;
  element.className = `outcome ${tone}`;
  element.textContent = words;
}

function sentence(error) {
  const words = error.hint ? `${error.message}; ${error.hint}` : error.message;
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
}

function ask(question, yes = "Yes") {
  const dialog = $("ask");
  $("ask-text").textContent = question;
  $("ask-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

// Passkeys: the JSON of WebAuthn Level 3, written out so that every browser understands it.

const fromBase64url = (text) => {
  const raw = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(raw, (character) => character.charCodeAt(0));
};
const toBase64url = (buffer) => {
  let raw = "";
  for (const byte of new Uint8Array(buffer)) raw += String.fromCharCode(byte);
  return btoa(raw).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
};
const named = (list) => (list ?? []).map((one) => ({ ...one, id: fromBase64url(one.id) }));

async function createPasskey(options) {
  const publicKey = {
    ...options,
    challenge: fromBase64url(options.challenge),
    user: { ...options.user, id: fromBase64url(options.user.id) },
    excludeCredentials: named(options.excludeCredentials),
  };
  const made = await navigator.credentials.create({ publicKey });
  return {
    id: made.id, rawId: toBase64url(made.rawId), type: made.type,
    authenticatorAttachment: made.authenticatorAttachment ?? undefined,
    clientExtensionResults: made.getClientExtensionResults(),
    response: {
      clientDataJSON: toBase64url(made.response.clientDataJSON),
      attestationObject: toBase64url(made.response.attestationObject),
      transports: made.response.getTransports?.() ?? [],
    },
  };
}

async function usePasskey(options) {
  const publicKey = { ...options, challenge: fromBase64url(options.challenge), allowCredentials: named(options.allowCredentials) };
  const used = await navigator.credentials.get({ publicKey });
  return {
    id: used.id, rawId: toBase64url(used.rawId), type: used.type,
    authenticatorAttachment: used.authenticatorAttachment ?? undefined,
    clientExtensionResults: used.getClientExtensionResults(),
    response: {
      clientDataJSON: toBase64url(used.response.clientDataJSON),
      authenticatorData: toBase64url(used.response.authenticatorData),
      signature: toBase64url(used.response.signature),
      userHandle: used.response.userHandle ? toBase64url(used.response.userHandle) : undefined,
    },
  };
}

const ceremonyWords = (error) => {
  if (error instanceof Refused) return sentence(error);
  if (error.name === "NotAllowedError" || error.name === "AbortError") return "The passkey was not used.";
  if (error.name === "InvalidStateError") return "This authenticator holds a passkey of yours already.";
  return "The passkey could not be used here.";
};

async function registerPasskey(form, token) {
  const { publicKey } = await api("POST", "/api/v1/passkeys/options", {}, token);
  const response = await createPasskey(publicKey);
  await api("POST", "/api/v1/passkeys", { name: form.elements.name.value, response }, token);
}

// Times: the viewer's own zone, UTC on hover, deadlines counted down.

const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function until(moment) {
  const seconds = Math.round((moment - Date.now()) / 1000);
  const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? units[3];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.trunc(seconds / size), unit);
}

function tellTimes(root = document) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = Date.parse(time.dateTime);
    if (Number.isNaN(moment)) continue;
    const local = format.format(moment);
    time.textContent = "countdown" in time.dataset ? `${local} (${until(moment)})` : local;
  }
}

// Forms that write through the API: `data-api="POST /path"`; fields become one JSON object.

function fields(form) {
  const body = {};
  let any = false;
  for (const field of form.elements) {
    if (!field.name || (field.type === "radio" && !field.checked)) continue;
    any = true;
    if ("list" in field.dataset) body[field.name] = field.value.split(/[\s,]+/).filter(Boolean);
    // What is typed is the viewer's own time; what is sent is UTC.
    else if ("moment" in field.dataset) body[field.name] = field.value && new Date(field.value).toISOString();
    else if ("json" in field.dataset) body[field.name] = JSON.parse(field.value);
    else if ("bool" in field.dataset) body[field.name] = field.value === "true";
    else if (field.selectedOptions?.[0] && "null" in field.selectedOptions[0].dataset) body[field.name] = null;
    else body[field.name] = field.value;
  }
  return any ? body : undefined;
}

function showSecret(form, label, secret) {
  const box = document.createElement("div");
  box.className = "banner amber";
  const words = document.createElement("span");
  words.textContent = `${label} It is shown this once.`;
  const value = document.createElement("code");
  value.className = "digest";
  value.textContent = secret;
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "plain small";
  copy.textContent = "Copy";
  copy.addEventListener("click", () => copyText(secret, copy));
  box.append(words, value, copy);
  form.after(box);
  copy.focus();
}

async function copyText(text, button) {
  try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = "Select and copy"; }
}

async function submitForm(form) {
  const [method, path] = form.dataset.api.split(" ");
  const button = form.querySelector("button");
  if (form.dataset.confirm && !(await ask(form.dataset.confirm, button.textContent.trim()))) return;
  button.disabled = true;
  try {
    const answer = await api(method, path, fields(form), undefined, form.dataset.seen);
    // Whoever signs out leaves nothing on the screen.
    if (path === "/api/v1/session") await closeNotes();
    const then = form.dataset.then;
    if (then === "reload") location.reload();
    else if (then === "link") showSecret(form, "Hand this link over yourself.", answer.link);
    else if (then === "token") showSecret(form, form.dataset.label ?? "The agent's token.", answer.token);
    else if (then === "elsewhere") location.assign(answer.location);
    else location.assign(answer?.location ?? then);
  } catch (error) {
    say(sentence(error), "bad");
    $("outcome")?.scrollIntoView({ block: "nearest" });
  } finally {
    button.disabled = false;
  }
}

// Deciding.

const page = $("approval");
let busy = false;
// News that came in while a vote was on its way.
let missed = false;

async function vote(decision, reason) {
  busy = true;
  const path = `/api/v1/approvals/${page.dataset.id}`;
  try {
    const ballot = await api("POST", `${path}/ballot`, { decision });
    if (ballot.statement.view_digest !== page.dataset.view) {
      throw new Refused(409, { detail: "what is asked has changed since this page was drawn", hint: "load the page again and look at it" });
    }
    let assertion = null;
    if (decision !== "reject" && ballot.publicKey) {
      try {
        assertion = await usePasskey(ballot.publicKey);
      } catch (error) {
        const enough = ballot.wanted !== "passkey";
        if (!enough || !(await ask("The passkey was not used. Policy accepts a signed-in session here. Approve without the passkey?", "Approve"))) throw error;
      }
    }
    await api("POST", `${path}/votes`, { statement: ballot.statement, assertion, reason });
    say({ approve: "Your vote is recorded.", reject: "Rejected. Your reason reaches the requester.", "break-glass": "The glass is broken. Everybody who may decide has been told." }[decision], "good");
    location.reload();
  } catch (error) {
    say(ceremonyWords(error), "bad");
    busy = false;
    if (missed) approvalChanged();
    return false;
  }
  return true;
}

function allowApproving() {
  const button = $("approve");
  if (!button) return;
  const seen = button.dataset.large !== "true" || page.dataset.seen === "yes";
  button.disabled = busy || button.dataset.strong !== "true" || !seen;
  $("approve-note").textContent = seen ? "" : "Open the whole body first.";
}

function wireApproval() {
  if (!page) return;
  allowApproving();
  $("approve")?.addEventListener("click", async () => {
    $("approve").disabled = true;
    if (!(await vote("approve", null))) allowApproving();
  });
  $("reject")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    const reason = [form.elements.preset.value, form.elements.words.value.trim()].filter(Boolean).join(": ");
    if (!reason) {
      say("Say why: the reason reaches the requester.", "bad");
      form.elements.words.focus();
      return;
    }
    $("reject-button").disabled = true;
    if (!(await vote("reject", reason))) $("reject-button").disabled = false;
  });
  $("break-glass")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = $("break-glass-button");
    if (button.dataset.large === "true" && page.dataset.seen !== "yes") {
      say("Open the whole body first.", "bad");
      return;
    }
    button.disabled = true;
    if (!(await vote("break-glass", event.target.elements.reason.value.trim()))) button.disabled = false;
  });
  $("load-bytes")?.addEventListener("click", async (event) => {
    const button = event.target;
    button.disabled = true;
    button.textContent = "Loading…";
    try {
      const response = await fetch(button.dataset.path);
      if (!response.ok) throw new Error();
      const all = $("all-bytes");
      all.textContent = await response.text();
      all.hidden = false;
      all.focus();
      page.dataset.seen = "yes";
      $("unread").hidden = true;
      button.hidden = true;
      allowApproving();
    } catch {
      button.disabled = false;
      button.textContent = "It could not be loaded. Try again";
    }
  });
}

// Tabs, where there is more than one reading.

function wireTabs() {
  for (const tabs of document.querySelectorAll("[data-tabs]")) {
    const panels = [...tabs.querySelectorAll("[data-tab]")];
    if (panels.length < 2) continue;
    const list = document.createElement("div");
    list.className = "tablist";
    list.setAttribute("role", "tablist");
    const buttons = panels.map((panel, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = panel.dataset.tab;
      button.setAttribute("role", "tab");
      button.id = `tab-${at}`;
      panel.id = `panel-${at}`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", button.id);
      button.setAttribute("aria-controls", panel.id);
      button.addEventListener("click", () => choose(at));
      button.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step) choose((at + step + panels.length) % panels.length, true);
      });
      return button;
    });
    const choose = (chosen, focus) => {
      panels.forEach((panel, at) => { panel.hidden = at !== chosen; });
      buttons.forEach((button, at) => {
        button.setAttribute("aria-selected", at === chosen);
        button.tabIndex = at === chosen ? 0 : -1;
      });
      if (focus) buttons[chosen].focus();
    };
    list.append(...buttons);
    tabs.prepend(list);
    choose(0);
  }
}

// Live: the gateway says that something changed, and the page asks afresh.

// What the gateway draws afresh; `null` when the page is left for signing in.
async function fragment(path) {
  const response = await fetch(path, { headers: { Accept: "text/html" } });
  if (response.status === 401) { location.assign("/sign-in"); return null; }
  if (!response.ok || response.redirected) throw new Error(path);
  return response.text();
}

// The inbox's rows by id, each as the gateway drew it.
const rowsIn = (root) => [...root.querySelectorAll("[data-id]")];
let inboxRows = new Map(page ? [] : rowsIn(document).map((row) => [row.dataset.id, { row, drawn: row.outerHTML }]));

// What did not change stays the very row it was, so that no click or focus is lost to a redrawing.
async function freshInbox() {
  const text = await fragment("/fragments/inbox");
  if (text === null) return;
  const box = $("inbox");
  const fresh = document.createElement("template");
  fresh.innerHTML = text;
  const before = inboxRows;
  const here = box.querySelector(".here")?.dataset.id;
  const focused = document.activeElement.closest?.("#inbox [data-id]")?.dataset.id;
  inboxRows = new Map(rowsIn(fresh.content).map((row) => [row.dataset.id, { row, drawn: row.outerHTML }]));
  for (const [id, now] of inboxRows) {
    const old = before.get(id);
    if (old?.drawn !== now.drawn) continue;
    now.row.replaceWith(old.row);
    now.row = old.row;
  }
  box.replaceChildren(fresh.content);
  tellTimes(box);
  for (const [id, { row }] of inboxRows) {
    row.classList.toggle("here", id === here);
    if (id === focused) row.querySelector("a").focus({ preventScroll: true });
    if (before.has(id)) continue;
    row.classList.add("fresh");
    $("live").textContent = `New: ${row.querySelector(".sentence").textContent}`;
    setTimeout(() => row.classList.remove("fresh"), 4000);
  }
  const waiting = box.querySelector("#for-you .count")?.textContent ?? "0";
  document.title = `${waiting === "0" ? "" : `(${waiting}) `}Inbox · Countersign`;
}

async function freshBanner() {
  const text = await fragment("/fragments/banner");
  if (text !== null) $("banner").innerHTML = text;
}

// Asks one thing at a time, and once more for news that came in while it asked: an old answer never covers a new one.
// What could not be asked is asked again.
function latest(work, wait) {
  let timer = null;
  let asking = false;
  let again = false;
  const run = async () => {
    timer = null;
    asking = true;
    again = false;
    let next = wait;
    try { await work(); } catch { again = true; next = 5000; }
    asking = false;
    if (again) timer ??= setTimeout(run, next);
  };
  return () => { if (asking) again = true; else timer ??= setTimeout(run, wait); };
}
const list = latest(freshInbox, 120);
const banner = latest(freshBanner, 0);

// What is shown is no longer so. What was said here survives the loading; what is being written or read is not taken away.
function approvalChanged() {
  missed = true;
  if (busy) return;
  const writing = [...page.querySelectorAll("textarea")].some((field) => field.value);
  const said = $("outcome");
  if (writing || page.dataset.seen === "yes" || $("ask").open) {
    const before = said.textContent ? `${said.textContent} ` : "";
    const words = "This approval has changed. Load the page again to see how.";
    if (!before.includes(words)) say(before + words, "warn");
    return;
  }
  if (said.textContent) sessionStorage.setItem("said", JSON.stringify({ at: page.dataset.id, words: said.textContent, tone: said.className }));
  location.reload();
}

function sayAgain() {
  const kept = sessionStorage.getItem("said");
  sessionStorage.removeItem("said");
  if (!page || !kept) return;
  const { at, words, tone } = JSON.parse(kept);
  if (at !== page.dataset.id) return;
  $("outcome").textContent = words;
  $("outcome").className = tone;
}

function watch() {
  if (!document.querySelector(".top") || !window.EventSource) return;
  // The stream hears what this page was drawn from, at every connecting, and says at once if that is behind.
  const shown = page ? `?approval=${page.dataset.id}&version=${page.dataset.version}` : "";
  const stream = new EventSource(`/api/v1/events${shown}`);
  // A browser opens six connections to a host: a page that was left must not keep one.
  addEventListener("pagehide", () => stream.close(), { once: true });
  const note = $("stream");
  const fresh = () => { if ($("inbox")) list(); banner(); };
  stream.addEventListener("open", () => {
    if (note) note.textContent = "Live";
    fresh();
  });
  stream.addEventListener("error", () => {
    if (note) note.textContent = "Not live: connecting again…";
    if (stream.readyState === EventSource.CLOSED) {
      api("GET", "/api/v1/session").then(() => setTimeout(watch, 5000), (error) => {
        if (error.status === 401) location.assign("/sign-in"); else setTimeout(watch, 5000);
      });
    }
  });
  stream.addEventListener("approval", (event) => {
    if ($("inbox")) list();
    const news = JSON.parse(event.data);
    if (news.state === "unknown") banner();
    if (page && news.id === page.dataset.id) approvalChanged();
  });
  stream.addEventListener("glass", (event) => {
    if ($("inbox")) list();
    $("live").textContent = "Somebody broke the glass, or reviewed that.";
    if (page && JSON.parse(event.data).id === page.dataset.id) approvalChanged();
  });
  stream.addEventListener("all", () => { fresh(); if (page) approvalChanged(); });
  stream.addEventListener("freeze", banner);
}

// Keys.

function move(step) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const now = rows.findIndex((row) => row.classList.contains("here"));
  const next = Math.min(Math.max(now + step, 0), rows.length - 1);
  rows[now]?.classList.remove("here");
  rows[next].classList.add("here");
  rows[next].scrollIntoView({ block: "nearest" });
  rows[next].querySelector("a, summary")?.focus({ preventScroll: true });
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
  const work = {
    j: () => move(1),
    k: () => move(-1),
    a: () => $("approve") && !$("approve").disabled && $("approve").click(),
    r: () => {
      const form = $("reject");
      const folded = form?.closest("details");
      if (folded) folded.open = true;
      form?.elements.words.focus();
    },
    i: () => document.querySelector(".top") && location.assign("/"),
    "?": () => $("help").showModal(),
  }[event.key];
  if (work) { event.preventDefault(); work(); }
}

// Signing in.

function wireSignIn() {
  const box = $("sign-in");
  if (!box) return;
  // The secret of a binding link or a summons came along behind the `#`: it goes on to its page, and no further.
  const carries = box.dataset.next === "/bind" || /^\/approvals\/[^/?#]+\/summons$/.test(box.dataset.next);
  if (carries && location.hash) box.dataset.next += location.hash;
  // A link from elsewhere comes without our cookie; whoever is signed in already goes on.
  api("GET", "/api/v1/session").then(() => location.replace(box.dataset.next), () => {});
  for (const button of box.querySelectorAll("[data-provider]")) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const { location: there } = await api("POST", "/api/v1/session/provider", { provider: button.dataset.provider, next: box.dataset.next });
        location.assign(there);
      } catch (error) {
        say(sentence(error), "bad");
        button.disabled = false;
      }
    });
  }
  $("sign-in-button").addEventListener("click", async () => {
    try {
      const { publicKey } = await api("POST", "/api/v1/session/passkey/options", {});
      const response = await usePasskey(publicKey);
      await api("POST", "/api/v1/session/passkey", { response });
      location.replace(box.dataset.next);
    } catch (error) {
      say(ceremonyWords(error), "bad");
    }
  });
}

function wireEnrol() {
  const box = $("enrol");
  if (!box) return null;
  const token = location.hash.slice(1);
  // The secret leaves the address bar and the history at once.
  history.replaceState(null, "", location.pathname);
  const session = {};
  if (!token) {
    $("open-link").disabled = true;
    say("This address is not whole: open the link exactly as you got it.", "bad");
  }
  $("open-link").addEventListener("click", async () => {
    $("open-link").disabled = true;
    try {
      const opened = await api("POST", "/api/v1/session/link", { token });
      session.csrf = opened.csrf;
      if (opened.passkeys > 0 || !window.PublicKeyCredential) { location.replace("/"); return; }
      $("who").textContent = opened.person.name;
      box.querySelector('[data-step="open"]').hidden = true;
      box.querySelector('[data-step="passkey"]').hidden = false;
      say("", "");
    } catch (error) {
      say(sentence(error), "bad");
      $("open-link").disabled = false;
    }
  });
  return session;
}

function wireBind() {
  const box = $("bind");
  if (!box) return;
  const code = location.hash.slice(1);
  // The secret leaves the address bar and the history at once.
  history.replaceState(null, "", location.pathname);
  if (!code) { say("This address is not whole: open the link exactly as you got it.", "bad"); return; }
  api("POST", "/api/v1/bindings/look", { code }).then((found) => {
    $("bind-channel").textContent = found.channel;
    $("bind-user").textContent = found.user;
    $("bind-name").textContent = found.user_name ?? "nothing";
    box.querySelector('[data-step="who"]').hidden = false;
  }, (error) => say(sentence(error), "bad"));
  $("bind-yes").addEventListener("click", async () => {
    $("bind-yes").disabled = true;
    try {
      await api("POST", "/api/v1/bindings", { code });
      location.replace("/account");
    } catch (error) {
      say(sentence(error), "bad");
      $("bind-yes").disabled = false;
    }
  });
}

function wireSummons() {
  const box = $("summons");
  if (!box) return;
  const code = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  if (!code) { say("This address is not whole: open the link exactly as you got it.", "bad"); return; }
  const approval = box.dataset.approval;
  api("POST", `/api/v1/approvals/${approval}/summons`, { code })
    .then(() => location.replace(`/approvals/${approval}/decide`), (error) => say(sentence(error), "bad"));
}

// The installed console: its worker, and what was shown of what is looked at now.

async function closeNotes(tag) {
  const there = await navigator.serviceWorker?.getRegistration("/");
  const notes = (await there?.getNotifications?.(tag ? { tag } : undefined)) ?? [];
  for (const note of notes) note.close();
}

function wireWorker() {
  if (!("serviceWorker" in navigator) || !csrf()) return;
  navigator.serviceWorker.register("/worker.js", { scope: "/", updateViaCache: "none" })
    .then(() => (page ? closeNotes(page.dataset.id) : undefined))
    // Without it the console is a page like any other.
    .catch(() => {});
}

// On a phone the bar scrolls: where one is comes into sight.
document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

const enrolling = wireEnrol();
wireSignIn();
wireBind();
wireSummons();
wireTabs();
wireApproval();
wireWorker();
sayAgain();
tellTimes();
setInterval(() => tellTimes(), 15000);
watch();
// What the back button brings back is old, and its stream is closed.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
document.addEventListener("keydown", key);
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (button) copyText($(button.dataset.copy).textContent, button);
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id === "register-passkey") {
    event.preventDefault();
    const next = form.dataset.next;
    registerPasskey(form, enrolling?.csrf).then(() => (next ? location.replace(next) : location.reload()), (error) => say(ceremonyWords(error), "bad"));
  } else if (form.dataset.api) {
    event.preventDefault();
    submitForm(form);
  }
});
