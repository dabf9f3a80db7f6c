// The one-time link: it opens the door once, and nothing is open without it.

import { expect, signIn, test } from "../../fixtures/stepcast";

test.describe("signing in", () => {
  test.use({ signedIn: false });

  test("the link of the first start opens the pages and the interface", async ({ page, stepcast }) => {
    const before = await page.request.get("/api/v1/pipelines");
    expect(before.status()).toBe(401);

    await page.goto(stepcast.signInLink);
    await expect(page.getByText("The message broker cannot be used")).toBeHidden();
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page).toHaveURL(`${stepcast.url}/`);
    await expect(page.getByRole("heading").first()).toBeVisible();

    const after = await page.request.get("/api/v1/pipelines");
    expect(after.status()).toBe(200);
  });

  test("looking at the link does not use it up, signing in with it does", async ({ page, browser, stepcast }) => {
    await page.request.get(stepcast.signInLink);
    await signIn(page.context(), stepcast);
    const stranger = await browser.newContext();
    const tab = await stranger.newPage();
    await tab.goto(stepcast.signInLink);
    await tab.getByRole("button", { name: "Sign in" }).click();
    await expect(tab.getByRole("alert")).toContainText("no link that can still be used");
    expect((await stranger.request.get(`${stepcast.url}/api/v1/pipelines`)).status()).toBe(401);
    await stranger.close();
  });

  test("without it, health is all there is", async ({ request }) => {
    expect((await request.get("/healthz")).status()).toBe(200);
    for (const path of ["/api/v1/pipelines", "/api/v1/builds", "/api/v1/executors"]) {
      expect((await request.get(path)).status(), path).toBe(401);
    }
  });
});

test.describe("a token made on the command line", () => {
  test.use({ signedIn: false });

  test("signs a browser in", async ({ page, stepcast }) => {
    const token = await stepcast.command("token", "create", "--name", "browser", "--role", "owner", "--data-dir", stepcast.dataDir);
    await page.goto("/sign-in");
    await page.getByLabel("Token").fill(token.trim());
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page).toHaveURL(`${stepcast.url}/`);
  });
});

test("a token made on the command line opens the interface for programs", async ({ api }) => {
  expect((await api.request("GET", "/pipelines")).status).toBe(200);
});
