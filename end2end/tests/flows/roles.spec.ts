// Three people look at one build: each is offered what their role allows, and no more; a role that is taken away and a
// session that is ended are seen at once, without a press of a key.

import type { Browser, Page } from "@playwright/test";

import { Gate, pipeline } from "../../fixtures/gate";
import { connection, expect, open, test } from "../../fixtures/stepcast";
import type { Installation } from "../../fixtures/stepcast";

/** A page of somebody else, in a browser of their own. */
async function pageOf(browser: Browser, stepcast: Installation, name: string): Promise<Page> {
  const context = await browser.newContext({ baseURL: stepcast.url });
  const page = await context.newPage();
  await stepcast.enter(page, name);
  return page;
}

test("each is offered what the role allows", async ({ page, api, browser, stepcast }) => {
  await api.apply("site", pipeline("site", { build: "exit 3" }));
  await api.apply("docs", pipeline("docs", { build: "echo hi" }));
  const build = await api.trigger("site");
  await api.finished(build);
  await stepcast.account("Vera", "viewer");
  await stepcast.account("Bob", "builder", "site");
  const [vera, bob] = [await pageOf(browser, stepcast, "Vera"), await pageOf(browser, stepcast, "Bob")];

  await open(vera, "/");
  await expect(vera.getByRole("link", { name: "docs", exact: true })).toBeVisible();
  await expect(vera.getByRole("button", { name: /^Build / })).toHaveCount(0);
  await expect(vera.getByRole("link", { name: "New pipeline" })).toBeHidden();
  await open(vera, `/builds/${build}`);
  await expect(vera.getByText("To cancel or retry it you need the role builder.")).toBeVisible();
  await expect(vera.getByRole("button", { name: /^Retry/ })).toHaveCount(0);
  await open(vera, "/pipelines/site");
  await expect(vera.getByText("To build it you need the role builder.")).toBeVisible();
  await expect(vera.getByText("To change it you need the role admin.")).toBeVisible();
  await expect(vera.getByRole("button", { name: "Save" })).toBeHidden();
  await open(vera, "/groups");
  await expect(vera.getByRole("button", { name: /^Pause/ })).toHaveCount(0);
  await expect(vera.getByText("you need the role admin everywhere")).toBeVisible();
  await vera.getByRole("button", { name: "Signed in as Vera" }).click();
  await expect(vera.getByRole("link", { name: "Account", exact: true })).toBeVisible();
  await expect(vera.getByRole("link", { name: "People", exact: true })).toBeHidden();

  await open(bob, "/");
  await expect(bob.getByRole("button", { name: "Build site" })).toBeVisible();
  await expect(bob.getByRole("link", { name: "docs", exact: true })).toBeHidden();
  await expect(bob.getByRole("link", { name: "Executors" })).toBeHidden();
  await open(bob, `/builds/${build}`);
  await expect(bob.getByRole("button", { name: "Retry", exact: true })).toBeVisible();

  await open(page, "/pipelines/site");
  await expect(page.getByRole("button", { name: "Save" })).toBeVisible();
  await expect(page.getByRole("button", { name: "Build site" })).toBeVisible();
  for (const other of [vera, bob]) await other.context().close();
});

test("a role that is taken away is seen on the page that is open, and so is one that is given", async ({ api, browser, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("site", pipeline("site", { work: gate.printUntilOpen }));
  const build = await api.trigger("site");
  const id = await stepcast.account("Bob", "builder");
  const bob = await pageOf(browser, stepcast, "Bob");
  await open(bob, `/builds/${build}`);
  const cancel = bob.getByRole("button", { name: "Cancel" });
  await expect(cancel).toBeVisible();
  const grant = async (role: string) => {
    const answer = await api.request("PATCH", `/accounts/${id}`, { grants: { everywhere: role } });
    expect(answer.status).toBe(200);
  };
  await grant("viewer");
  await expect(cancel).toBeHidden();
  await expect(bob.getByText("To cancel or retry it you need the role builder.")).toBeVisible();
  // The log goes on.
  await expect(connection(bob)).toHaveText(/^(live|resumed)/);
  const last = bob.locator(".log .row .t").last();
  const before = await last.innerText();
  await expect(last).not.toHaveText(before);
  await grant("builder");
  await expect(cancel).toBeVisible();
  await gate.open();
  await expect(bob.getByRole("button", { name: "Retry", exact: true })).toBeVisible();
  await bob.context().close();
});

test("who signs out everywhere is asked to sign in on the open page, and goes on where they were", async ({ api, browser, stepcast }) => {
  await api.apply("site", pipeline("site", { build: "echo hi" }));
  const build = await api.trigger("site");
  await api.finished(build);
  await stepcast.account("Bob", "builder");
  const [here, there] = [await pageOf(browser, stepcast, "Bob"), await pageOf(browser, stepcast, "Bob")];
  await open(here, `/builds/${build}`);
  await open(there, "/account");
  await there.getByRole("button", { name: "Sign out everywhere" }).click();
  await expect(there).toHaveURL(/\/sign-in$/);
  await expect(here).toHaveURL(/\/sign-in\?ended=1&next=/);
  await expect(here.getByText("Your session has ended.")).toBeVisible();
  await stepcast.enter(here, "Bob", false);
  await expect(here).toHaveURL(new RegExp(`/builds/${build}$`));
  for (const page of [here, there]) await page.context().close();
});

test("whose session ended while the page was cut off is asked to sign in when it comes back", async ({ api, browser, stepcast }) => {
  await api.apply("site", pipeline("site", { build: "echo hi" }));
  await stepcast.account("Bob", "builder");
  const [here, there] = [await pageOf(browser, stepcast, "Bob"), await pageOf(browser, stepcast, "Bob")];
  await open(here, "/pipelines/site");
  await here.context().setOffline(true);
  await expect(here.getByRole("banner").getByRole("status")).toHaveText(/offline/);
  await open(there, "/account");
  await there.getByRole("button", { name: "Sign out everywhere" }).click();
  await expect(there).toHaveURL(/\/sign-in$/);
  await here.context().setOffline(false);
  await expect(here).toHaveURL(/\/sign-in\?ended=1&next=/);
  for (const page of [here, there]) await page.context().close();
});

test.describe("too many tries", () => {
  test.use({ signedIn: false });

  test("are told with how long to wait", async ({ page, stepcast }) => {
    await stepcast.account("Bob", "builder");
    await page.goto("/sign-in?next=/executors");
    const waits = /try again in (a second|\d+ (seconds|minutes))/;
    // Each wait is twice the one before: sooner or later one is longer than the next try takes.
    await expect(async () => {
      await page.getByLabel("Name").fill("Bob");
      await page.getByLabel(/^Password/).fill("not it at all");
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      await expect(page.getByRole("alert")).toContainText(waits, { timeout: 2_000 });
    }).toPass({ timeout: 60_000 });
    await expect(page).toHaveURL(/next=\/executors/);
  });
});
