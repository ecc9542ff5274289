// The devices on a person's own page: adding this one. Everything else there is a form.
"use strict";

(() => {
  const form = $("add-device");
  if (!form) return;
  const MINE = "countersign-device";
  const { key } = form.dataset;

  function explain(words) {
    $("add-device-note").textContent = words;
    form.hidden = true;
  }

  // Which of the devices in the list this one is: known to this browser alone.
  async function mark() {
    const mine = localStorage.getItem(MINE);
    const row = mine && document.querySelector(`[data-device="${CSS.escape(mine)}"]`);
    if (!row) return false;
    const there = await navigator.serviceWorker.getRegistration("/");
    if (!(await there?.pushManager.getSubscription())) return false;
    row.querySelector(".this").hidden = false;
    return true;
  }

  async function subscribe(name) {
    if ((await Notification.requestPermission()) !== "granted") {
      throw new Refused(0, { detail: "this browser shows no notifications of this page", hint: "allow them in its settings, and try again" });
    }
    const worker = await navigator.serviceWorker.ready;
    // A subscription from before may be somebody else's, or made for another key.
    await (await worker.pushManager.getSubscription())?.unsubscribe();
    let made;
    try {
      made = await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: fromBase64url(key) });
    } catch {
      throw new Refused(0, { detail: "this browser could not reach its push service", hint: "try again, or use another browser" });
    }
    const { endpoint, keys } = made.toJSON();
    try {
      const { id } = await api("POST", "/api/v1/subscriptions", { name, endpoint, p256dh: keys.p256dh, auth: keys.auth, key });
      localStorage.setItem(MINE, id);
    } catch (error) {
      await made.unsubscribe();
      throw error;
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await subscribe(form.elements.name.value);
      location.reload();
    } catch (error) {
      say(error instanceof Refused ? sentence(error) : "This device could not be added.", "bad");
      $("outcome")?.scrollIntoView({ block: "nearest" });
      button.disabled = false;
    }
  });

  for (const test of document.querySelectorAll("[data-test]")) {
    test.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = test.querySelector("button");
      button.disabled = true;
      try {
        await api("POST", `/api/v1/subscriptions/${test.dataset.test}/test`);
        say("The push service has the test: the device shows it in a moment.", "good");
      } catch (error) {
        say(sentence(error), "bad");
      } finally {
        button.disabled = false;
      }
    });
  }

  const apple = /iPhone|iPad/.test(navigator.userAgent);
  if (!("serviceWorker" in navigator) || !("PushManager" in window) || !("Notification" in window)) {
    explain(apple
      ? "On an iPhone or iPad, first put Countersign on the Home Screen (Share, then Add to Home Screen), and open it from there."
      : "This browser cannot be told.");
    return;
  }
  mark().then((known) => { if (known) explain("This device is told."); }, () => {});
})();
