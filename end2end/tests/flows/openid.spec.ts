// People sign in by a real provider of OpenID Connect: who may, who may not, and what each is told. What a provider could say
// wrongly stands in `server/tests/openid`.

import type { Browser, BrowserContext, Page } from "@playwright/test";

import { enterByProvider, expect, signInAtProvider, stayHere, test, typeAtProvider } from "../../fixtures/openid";
import { fillIn, open, person, signIn, type Installation } from "../../fixtures/stepcast";

/** A browser of somebody else. */
async function elsewhere(browser: Browser, stepcast: Installation, scripts = true): Promise<{ context: BrowserContext; page: Page }> {
  const context = await browser.newContext({ baseURL: stepcast.url, javaScriptEnabled: scripts });
  await stayHere(context);
  return { context, page: await context.newPage() };
}

test.describe("whom the provider knows", () => {
  test.use({ grants: "builder" });

  test("gets an account by signing in there, and goes on where they wanted to", async ({ browser, stepcast }) => {
    const { context, page } = await elsewhere(browser, stepcast);
    await page.goto("/search");
    await expect(page.getByRole("link", { name: "Sign in with Team" })).toBeVisible();
    await page.getByRole("link", { name: "Sign in with Team" }).click();
    await signInAtProvider(page, "grace");
    await expect(page).toHaveURL(`${stepcast.url}/search`);
    await page.getByRole("button", { name: "Signed in as grace" }).click();
    await page.getByRole("link", { name: "Account", exact: true }).click();
    await expect(page.getByText("You are builder everywhere")).toBeVisible();
    await expect(page.getByText("You sign in by Team alone")).toBeVisible();
    await expect(page.getByRole("heading", { name: "Password" })).toBeHidden();
    await context.close();
  });

  test("needs no scripts for it", async ({ browser, stepcast }) => {
    const { context, page } = await elsewhere(browser, stepcast, false);
    await enterByProvider(page, stepcast, "grace");
    await expect(page).toHaveURL(`${stepcast.url}/`);
    expect((await context.request.get(`${stepcast.url}/api/v1/account`)).status()).toBe(200);
    await context.close();
  });

  test("is told what the provider says no with", async ({ browser, stepcast }) => {
    const { context, page } = await elsewhere(browser, stepcast);
    await page.goto("/sign-in");
    await page.getByRole("link", { name: "Sign in with Team" }).click();
    await page.getByRole("link", { name: "Cancel" }).click();
    await expect(page.getByRole("alert")).toHaveText("You were not signed in: it was denied at Team.");
    await context.close();
  });

  test("cannot bring an answer to another browser, nor twice", async ({ browser, stepcast }) => {
    const [ada, eve] = [await elsewhere(browser, stepcast), await elsewhere(browser, stepcast)];
    await ada.page.goto("/sign-in");
    await ada.page.getByRole("link", { name: "Sign in with Team" }).click();
    await typeAtProvider(ada.page, "ada");
    // The answer does not arrive, for nobody listens; another process of the server is there when it is brought again.
    await stepcast.stop();
    const lost = ada.page.waitForEvent("requestfailed", (request) => request.url().includes("/sign-in/openid/answer?"));
    await ada.page.getByRole("button", { name: "Continue" }).click();
    const answer = (await lost).url();
    // Left alone, a browser would ask again by itself; and one that still goes to its page of errors goes nowhere else.
    await expect.poll(() => ada.page.url()).toContain("chrome-error:");
    await expect(async () => {
      await ada.page.goto("about:blank");
    }).toPass();
    await stepcast.restart();

    await eve.page.goto(answer);
    await expect(eve.page.getByRole("alert")).toContainText("this browser has not asked for it");
    expect((await eve.context.request.get(`${stepcast.url}/api/v1/account`)).status()).toBe(401);

    await ada.page.goto(answer);
    await expect(ada.page).toHaveURL(`${stepcast.url}/`);
    const copy = await ada.context.storageState();
    await ada.page.goto(answer);
    await expect(ada.page).toHaveURL(`${stepcast.url}/sign-in?openid=late`);
    await expect(ada.page.getByRole("alert")).toContainText("This answer of Team was used already");
    expect(copy.cookies.map((cookie) => cookie.name)).not.toContain("stepcast_openid");
    await ada.context.close();
    await eve.context.close();
  });

  test("is refused while their account is disabled", async ({ browser, stepcast, api }) => {
    const { context, page } = await elsewhere(browser, stepcast);
    await enterByProvider(page, stepcast, "grace");
    await expect(page).toHaveURL(`${stepcast.url}/`);
    const own = (await (await context.request.get(`${stepcast.url}/api/v1/account`)).json()) as { account: string };
    expect((await api.request("PATCH", `/accounts/${own.account}`, { disabled: true })).status).toBe(200);
    // The page notices it, and leads there by itself.
    await expect(page).toHaveURL(/\/sign-in/);
    await page.getByRole("link", { name: "Sign in with Team" }).click();
    // The provider remembers who is there.
    await expect(page.getByRole("alert")).toHaveText("Your account is disabled: ask an admin.");
    expect((await context.request.get(`${stepcast.url}/api/v1/account`)).status()).toBe(401);
    await context.close();
  });
});

test.describe("only who was invited", () => {
  test("comes in: a stranger is told to ask, and the invitation is used up", async ({ browser, stepcast, api }) => {
    const { context, page } = await elsewhere(browser, stepcast);
    await enterByProvider(page, stepcast, "grace");
    await expect(page.getByRole("alert")).toHaveText("Team knows you, but you have no account here: ask an admin for an invitation.");
    expect((await context.request.get(`${stepcast.url}/api/v1/account`)).status()).toBe(401);

    const made = await api.request("POST", "/invitations", { grants: { everywhere: "viewer" } });
    const { link } = (await made.json()) as { link: string };
    await page.goto(link);
    await page.getByRole("link", { name: "Accept with Team" }).click();
    await expect(page).toHaveURL(`${stepcast.url}/`);
    await expect(page.getByRole("button", { name: "Signed in as grace" })).toBeVisible();
    await context.close();

    const late = await elsewhere(browser, stepcast);
    await late.page.goto(link);
    await expect(late.page.getByRole("alert")).toContainText("This link was used");
    await late.context.close();
  });

  test("links their account, signs in by it, and unlinks it", async ({ page, browser, stepcast }) => {
    await open(page, "/account");
    await expect(page.getByRole("navigation", { name: "Installation" })).toBeVisible();
    await page.getByLabel("Your password").fill("not it at all");
    await page.getByRole("button", { name: "Link Team" }).click();
    await expect(page.getByRole("alert")).toHaveText("The password is not right.");
    await page.getByLabel("Your password").fill(person.password);
    await page.getByRole("button", { name: "Link Team" }).click();
    await signInAtProvider(page, "lovelace");
    await expect(page.getByText("You can sign in by Team from now on.")).toBeVisible();

    const other = await elsewhere(browser, stepcast);
    await enterByProvider(other.page, stepcast, "lovelace");
    await expect(other.page.getByRole("button", { name: `Signed in as ${person.name}` })).toBeVisible();
    await open(page, "/people");
    await expect(page.getByText("by password or Team")).toBeVisible();

    await open(page, "/account");
    await page.getByRole("button", { name: "Unlink Team" }).click();
    await expect(page.getByText("You cannot sign in by Team any more.")).toBeVisible();
    await other.page.goto("/sign-in");
    await other.page.getByRole("link", { name: "Sign in with Team" }).click();
    await expect(other.page.getByRole("alert")).toContainText("ask an admin for an invitation");
    await other.context.close();
  });
});

test.describe("a provider that is down when the server starts", () => {
  test.use({ signedIn: false, grants: "viewer" });

  test("leaves passwords as they are, and signs people in once it is back", async ({ page, browser, stepcast, provider }) => {
    await provider.stop();
    await signIn(page.context(), stepcast);
    await stepcast.stop();
    await stepcast.restart();
    const { context, page: tab } = await elsewhere(browser, stepcast);
    await tab.goto("/sign-in");
    await tab.getByRole("link", { name: "Sign in with Team" }).click();
    await expect(tab.getByRole("alert")).toContainText("Team cannot be reached now");
    await fillIn(tab);
    await tab.getByRole("button", { name: "Sign in", exact: true }).click();
    await expect(tab).toHaveURL(`${stepcast.url}/`);
    await context.close();

    await provider.restart();
    const later = await elsewhere(browser, stepcast);
    await expect(async () => {
      await later.page.goto("/sign-in");
      await later.page.getByRole("link", { name: "Sign in with Team" }).click();
      await expect(later.page.getByPlaceholder("Enter any login")).toBeVisible({ timeout: 10_000 });
    }).toPass();
    await signInAtProvider(later.page, "grace");
    await expect(later.page).toHaveURL(`${stepcast.url}/`);
    await later.context.close();
  });
});
