// Hooks on the page of a pipeline: made, called as a forge calls them, given another secret, removed; and what a build says of
// who or what has triggered it.

import { createHmac, randomUUID } from "node:crypto";

import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";

import { pipeline } from "../../fixtures/gate";
import { saysMeanwhile } from "../../fixtures/moments";
import { expect, open, test } from "../../fixtures/stepcast";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** A pipeline that is built by pushes to main. */
function pushed(name: string): string {
  const spec = JSON.parse(pipeline(name, { work: "echo hi" }));
  return JSON.stringify({ ...spec, on: { push: { branches: ["main"] } } });
}

/** Calls a hook as GitHub does. */
async function deliver(url: string, secret: string): Promise<Response> {
  const repository = { id: 7, full_name: "octo/site" };
  const body = JSON.stringify({ ref: "refs/heads/main", after: COMMIT, repository, sender: { login: "octocat" } });
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  const headers = { "x-hub-signature-256": `sha256=${signature}`, "x-github-event": "push", "x-github-delivery": randomUUID() };
  return fetch(url, { method: "POST", body, headers: { "content-type": "application/json", ...headers } });
}

/** The address and the secret that are shown once. */
async function shown(page: Page): Promise<[string, string]> {
  const [url, secret] = await page.locator(".shown-once code").allInnerTexts();
  return [url!, secret!];
}

test.use({ permissions: ["clipboard-read", "clipboard-write"] });

test("a hook is made with what is to be entered at the forge, builds, gets another secret, and is removed", async ({ page, api, stepcast }) => {
  await api.apply("site", pushed("site"));
  await open(page, "/pipelines/site");
  const section = page.getByRole("region", { name: "Hooks" });
  await expect(section).toContainText("By the pipeline file they build pushes to main.");
  await section.getByLabel("Called by").selectOption("GitHub");
  await section.getByRole("button", { name: "Make a hook" }).click();
  const once = page.locator(".shown-once");
  await expect(once).toContainText("Open the repository at GitHub: Settings, Webhooks, Add webhook.");
  const [url, secret] = await shown(page);
  expect(url).toMatch(new RegExp(`^${stepcast.url}/api/v1/hooks/`));
  await saysMeanwhile(once, "Copied", () => once.getByRole("button", { name: "Copy the secret" }).click());
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(secret);
  const row = section.getByRole("list", { name: "Hooks" }).getByRole("listitem");
  await expect(row).toContainText("GitHub");
  await expect(row).toContainText("made by Ada");
  await expect(row).toContainText("has built nothing in 90 days");
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.filter(({ impact }) => impact === "serious" || impact === "critical")).toEqual([]);

  const answer = await deliver(url, secret);
  expect(answer.status).toBe(202);
  const { build } = (await answer.json()) as { build: string };
  await page.reload();
  await expect(page.locator(".shown-once")).toHaveCount(0);
  await expect(page.getByText(secret)).toHaveCount(0);
  await expect(row).toContainText("last built");
  await expect(page.locator(".build-row").first()).toContainText("push to main");

  await row.getByRole("button", { name: "New secret for the hook of GitHub" }).click();
  await row.getByRole("button", { name: "Make another" }).click();
  await expect(once).toBeVisible();
  const [same, other] = await shown(page);
  expect(same).toBe(url);
  expect(other).not.toBe(secret);
  expect((await deliver(url, secret)).status).toBe(401);
  expect((await deliver(url, other)).status).toBe(202);

  await row.getByRole("button", { name: "Remove the hook of GitHub" }).click();
  await row.getByRole("button", { name: "Remove it" }).click();
  await expect(row).toHaveCount(0);
  expect((await deliver(url, other)).status).toBe(404);

  await api.finished(build);
  await open(page, `/builds/${build}`);
  const fact = page.locator(".facts div").filter({ hasText: "Triggered by" });
  await expect(fact).toContainText("push to main by octocat, 0123456789 of octo/site at GitHub");
});

test("a build says which person or which token has triggered it, in lists too", async ({ page, api }) => {
  await api.apply("site", pipeline("site", { work: "true" }));
  await open(page, "/pipelines/site");
  await page.getByRole("button", { name: "Build site" }).click();
  await expect(page).toHaveURL(/\/builds\//);
  const fact = page.locator(".facts div").filter({ hasText: "Triggered by" });
  await expect(fact.locator("dd")).toHaveText("Ada");
  const { triggered_by: by } = (await (await api.request("GET", `/builds/${await api.trigger("site")}`)).json()) as { triggered_by: string };
  expect(by).toMatch(/^token /);
  await open(page, "/pipelines/site");
  await expect(page.locator(".build-row .by")).toHaveText([by, "Ada"]);
});

test("a pipeline without `on` says that no hook builds it", async ({ page, api }) => {
  await api.apply("site", pipeline("site", { work: "true" }));
  await open(page, "/pipelines/site");
  await expect(page.getByRole("region", { name: "Hooks" })).toContainText("The pipeline file does not say what a hook builds");
});
