// What others try in the browser of somebody who is signed in: markup in the texts of builds, and pages of another origin that
// use the session. Loopback is no protection: another port is another origin, and yet the cookie goes along.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { pipeline } from "../../fixtures/gate";
import { expect, open, test } from "../../fixtures/stepcast";

const MARKUP = `<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>`;

test("markup in what builds say is text on every page", async ({ page, api, context }) => {
  await context.addInitScript(() => Object.assign(window, { hurt: 0 }));
  const spec = JSON.parse(pipeline("hostile", { work: `cat <<'end'\n${MARKUP}\n\u001b]8;;javascript:window.hurt=1\u0007here\u001b]8;;\u0007\nend\nexit 1` }));
  spec.description = MARKUP;
  spec.inputs = { text: { default: MARKUP, description: MARKUP } };
  spec.jobs.work.steps[0].name = MARKUP;
  await api.apply("hostile", JSON.stringify(spec));
  const build = await api.trigger("hostile");
  await api.finished(build);
  for (const address of ["/", "/pipelines/hostile", `/builds/${build}`, `/search?q=${encodeURIComponent("onerror")}`, `/search?q=${encodeURIComponent(MARKUP)}`]) {
    await open(page, address);
    expect(await page.evaluate(() => (window as unknown as { hurt: number }).hurt), address).toBe(0);
    expect(await page.locator("img[src=x]").count(), address).toBe(0);
  }
  await open(page, `/builds/${build}`);
  await expect(page.locator(".log")).toContainText(MARKUP);
  expect(await page.locator(".log .t a").count()).toBe(0);
});

test.describe("markup in what people say of themselves and of others", () => {
  test.use({ signedIn: false });

  test("is text on every page that shows it", async ({ page, api, stepcast, context }) => {
    // A name may have 60 characters.
    const markup = `<img src=x onerror="window.hurt=1"><b>`;
    await context.addInitScript(() => Object.assign(window, { hurt: 0 }));
    await stepcast.account(markup, "admin");
    await stepcast.enter(page, markup);
    const made = async (path: string, body: object) => expect((await api.request("POST", path, body)).status).toBe(201);
    await made("/tokens", { name: markup, grants: { everywhere: "viewer" } });
    await made("/invitations", { note: markup, grants: { everywhere: "viewer" } });
    const shown: [string, string][] = [["/people", ".people"], ["/tokens", ".people"], ["/audit", ".audit"], ["/account", "h1"], ["/", ".own-name"]];
    for (const [address, place] of shown) {
      await open(page, address);
      await expect(page.locator(place).first(), address).toContainText(markup);
      expect(await page.evaluate(() => (window as unknown as { hurt: number }).hurt), address).toBe(0);
      expect(await page.locator("img[src=x]").count(), address).toBe(0);
    }
    await open(page, "/people");
    await expect(page.getByRole("list", { name: "Links that nobody has used yet" })).toContainText(markup);
    await page.getByRole("button", { name: `Remove ${markup}` }).click();
    expect(await page.locator("img[src=x]").count()).toBe(0);
  });
});

test("a script that the page did not bring does not run", async ({ page, expectedComplaints }) => {
  expectedComplaints.push(/Content Security Policy/, /status of 404/);
  const nonces = new Set<string>();
  for (const _ of [1, 2]) {
    const answer = await page.goto("/");
    const policy = (await answer!.allHeaders())["content-security-policy"] ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy.split("; ").find((part) => part.startsWith("script-src"))).not.toContain("'unsafe-inline'");
    nonces.add(/'nonce-([^']+)'/.exec(policy)![1]!);
  }
  expect(nonces.size).toBe(2);
  const refused = await page.evaluate(async (markup) => {
    const seen: string[] = [];
    document.addEventListener("securitypolicyviolation", (violation) => seen.push(violation.effectiveDirective));
    const all = new Promise<void>((done) => document.addEventListener("securitypolicyviolation", () => seen.length >= 3 && done()));
    const place = document.createElement("div");
    document.body.append(place);
    place.innerHTML = markup;
    const script = document.createElement("script");
    script.textContent = "window.hurt=1";
    document.body.append(script);
    const frame = document.createElement("iframe");
    frame.src = "data:text/html,x";
    document.body.append(frame);
    await all;
    return { seen, hurt: (window as unknown as { hurt?: number }).hurt };
  }, MARKUP);
  expect(refused.hurt).toBeUndefined();
  expect(refused.seen.sort()).toEqual(["frame-src", "script-src-attr", "script-src-elem"]);
});

test("an HTML file that a build left is a download, and no script of it runs", async ({ page, api, stepcast, context }) => {
  await context.addInitScript(() => Object.assign(window, { hurt: 0 }));
  const asked: string[] = [];
  const site = createServer((request, answer) => {
    asked.push(request.url ?? "");
    answer.end();
  });
  await new Promise<void>((done) => site.listen(0, "127.0.0.1", done));
  const told = `http://127.0.0.1:${(site.address() as AddressInfo).port}/ran`;
  const script = `<!doctype html><title>hurt</title><script>window.hurt=1;new Image().src="${told}";document.title="ran"</script>`;
  const names = ["page.html", "picture.svg"];
  const write = names.map((name) => `echo '${script}' > ${name}`).join("; ");
  await api.apply("site", JSON.stringify({ name: "site", jobs: { a: { steps: [{ run: write }], artifacts: names } } }));
  const build = await api.finished(await api.trigger("site"));
  const job = build.jobs[0]!.id;
  const artifacts = async () => (await (await api.request("GET", `/jobs/${job}/artifacts`)).json()) as { id: string; name: string }[];
  await expect.poll(async () => (await artifacts()).length).toBe(2);
  try {
    await open(page, `/builds/${build.id}`);
    for (const { id, name } of await artifacts()) {
      const download = page.waitForEvent("download");
      // A download is no page: the browser stays where it is, and says that it went nowhere.
      await page.goto(`${stepcast.url}/api/v1/artifacts/${id}`).catch(() => {});
      expect((await download).suggestedFilename()).toBe(name);
      expect(page.url()).toBe(`${stepcast.url}/builds/${build.id}`);
      expect(await page.evaluate(() => (window as unknown as { hurt: number }).hurt), name).toBe(0);
    }
    expect(await page.title()).not.toBe("ran");
    expect(asked).toEqual([]);
  } finally {
    site.close();
  }
});

test.describe("a page of another origin", () => {
  let site: Server;
  let elsewhere: string;

  test.beforeEach(async () => {
    site = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><title>elsewhere</title>"));
    await new Promise<void>((done) => site.listen(0, "127.0.0.1", done));
    elsewhere = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
  });

  test.afterEach(() => {
    site.close();
  });

  test("can neither open a socket, nor write, nor read, nor frame, nor sign out", async ({ page, api, stepcast, expectedComplaints }) => {
    expectedComplaints.push(/WebSocket connection|CORS policy|Failed to load resource|Refused to display|X-Frame-Options|frame-ancestors/i);
    await api.apply("site", pipeline("site", { build: "true" }));
    await page.goto(elsewhere);
    const cookies = await page.context().cookies(stepcast.url);
    expect(cookies.find((cookie) => cookie.name === "stepcast_session")).toMatchObject({ httpOnly: true, sameSite: "Lax" });

    const tried = await page.evaluate(async (url) => {
      const socket = await new Promise<string>((done) => {
        const socket = new WebSocket(`${url.replace("http", "ws")}/ws`, "stepcast.v1");
        socket.onopen = () => done("open");
        socket.onerror = () => done("refused");
      });
      const write = (path: string, body?: string) =>
        // What it is answered is kept from this page; that it was sent is what matters.
        fetch(url + path, { method: "POST", mode: "no-cors", credentials: "include", body, headers: { "content-type": "text/plain" } }).catch(() => {});
      await write("/api/v1/pipelines/site/builds", "{}");
      await write("/sign-out");
      const read = await fetch(`${url}/api/v1/pipelines`, { credentials: "include" }).then(() => "read", () => "refused");
      const frame = document.createElement("iframe");
      frame.src = url;
      const loaded = new Promise((done) => (frame.onload = done));
      document.body.append(frame);
      await loaded;
      return { socket, read };
    }, stepcast.url);
    expect(tried).toEqual({ socket: "refused", read: "refused" });
    const frame = page.frames().find((frame) => frame !== page.mainFrame())!;
    expect(frame.url()).not.toContain(stepcast.url);

    // A form needs no permission to be sent, and is refused by its Origin.
    await page.setContent(`<form method="post" action="${stepcast.url}/sign-out"><button>Look at kittens</button></form>`);
    const answered = page.waitForResponse((answer) => answer.url() === `${stepcast.url}/sign-out`);
    await page.getByRole("button").click();
    expect((await answered).status()).toBe(403);

    expect(await (await api.request("GET", "/builds")).json()).toEqual([]);
    await open(page, "/");
  });
});
