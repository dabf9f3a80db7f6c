// The first link makes an account once; then one signs in by name and password, or by a token, and nothing is open without.

import { expect, fillIn, signIn, test } from "../../fixtures/stepcast";

test.describe("signing in", () => {
  test.use({ signedIn: false });

  test("the link of the first start makes an account, and opens the pages and the interface", async ({ page, stepcast }) => {
    const before = await page.request.get("/api/v1/pipelines");
    expect(before.status()).toBe(401);

    await page.goto(stepcast.signInLink);
    await expect(page.getByText("The message broker cannot be used")).toBeHidden();
    await fillIn(page, { name: "Ada", password: "password1234" });
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("alert")).toContainText("This password cannot be taken");
    await expect(page.getByLabel("Name")).toHaveValue("Ada");
    await fillIn(page);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page).toHaveURL(`${stepcast.url}/`);
    await expect(page.getByRole("heading").first()).toBeVisible();

    const after = await page.request.get("/api/v1/pipelines");
    expect(after.status()).toBe(200);
  });

  test("looking at the link does not use it up, making an account with it does", async ({ page, browser, stepcast }) => {
    await page.request.get(stepcast.signInLink);
    await signIn(page.context(), stepcast);
    const stranger = await browser.newContext();
    const tab = await stranger.newPage();
    await tab.goto(stepcast.signInLink);
    await fillIn(tab, { name: "Eve", password: "four green kettles" });
    await tab.getByRole("button", { name: "Sign in" }).click();
    await expect(tab.getByRole("alert")).toContainText("This link was used");
    expect((await stranger.request.get(`${stepcast.url}/api/v1/pipelines`)).status()).toBe(401);
    await stranger.close();
  });

  test("a name and its password open the pages, and others do not", async ({ page, browser, stepcast }) => {
    await signIn(page.context(), stepcast);
    const elsewhere = await browser.newContext();
    const tab = await elsewhere.newPage();
    await tab.goto(`${stepcast.url}/executors`);
    await fillIn(tab, { name: "Ada", password: "not it at all" });
    await tab.getByRole("button", { name: "Sign in" }).click();
    await expect(tab.getByRole("alert")).toContainText("do not belong together");
    await fillIn(tab);
    await tab.getByRole("button", { name: "Sign in" }).click();
    await expect(tab).toHaveURL(`${stepcast.url}/executors`);
    await elsewhere.close();
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
    const token = await stepcast.command("token", "create", "--name", "browser", "--role", "admin", "--data-dir", stepcast.dataDir);
    await page.goto("/sign-in");
    await page.getByText("Sign in with a token").click();
    await page.getByLabel("Token").fill(token.trim());
    await page.getByRole("button", { name: "Use the token" }).click();
    await expect(page).toHaveURL(`${stepcast.url}/`);
  });
});

test("a token made on the command line opens the interface for programs", async ({ api }) => {
  expect((await api.request("GET", "/pipelines")).status).toBe(200);
});
