// Tokens for programs: shown once, no wider than who made them, taken back.

import { connection, expect, open, test } from "../../fixtures/stepcast";

test("a token is shown once, opens the interface, and is shut out when it is revoked", async ({ page, stepcast }) => {
  await open(page, "/tokens");
  await page.getByLabel("What it is for").fill("nightly");
  await page.getByLabel("Role everywhere").selectOption("viewer");
  await page.getByLabel("Good for").selectOption("a week");
  await page.getByRole("button", { name: "Make a token" }).click();
  const secret = await page.locator(".shown-once code").innerText();
  const row = page.getByRole("list", { name: "Tokens" }).getByRole("listitem").filter({ hasText: "nightly" });
  await expect(row).toContainText("viewer everywhere, made by Ada");
  await expect(row).toContainText("never used");

  const ask = async (path: string, method = "GET") => {
    const response = await fetch(`${stepcast.url}/api/v1${path}`, { method, headers: { authorization: `Bearer ${secret}` } });
    return response.status;
  };
  expect(await ask("/pipelines")).toBe(200);
  expect(await ask("/accounts")).toBe(403);
  await page.reload();
  await expect(page.locator(".shown-once")).toBeHidden();
  await expect(page.getByText(secret)).toBeHidden();
  // It is written beside the request, not before its answer.
  await expect(async () => {
    await page.reload();
    await expect(row).toContainText("last used", { timeout: 1_000 });
  }).toPass();

  await expect(connection(page)).toHaveText(/^live/);
  await row.getByRole("button", { name: "Revoke nightly" }).click();
  await row.getByRole("button", { name: "Revoke it" }).click();
  await expect(row).toBeHidden();
  expect(await ask("/pipelines")).toBe(401);
});

test("of two tokens that are revoked at once both are gone, whichever list is there last", async ({ page, api }) => {
  const grants = { everywhere: "viewer" };
  for (const name of ["first", "second"]) expect((await api.request("POST", "/tokens", { name, grants })).status).toBe(201);
  await open(page, "/tokens");
  const rows = page.getByRole("list", { name: "Tokens" });
  let arrive = () => {};
  const late = new Promise<void>((done) => (arrive = done));
  let lists = 0;
  await page.route("**/api/page/tokens", async (route) => {
    const answer = await route.fetch();
    if (++lists === 1) await late;
    await route.fulfill({ response: answer });
  });
  const revoke = async (name: string) => {
    await rows.getByRole("button", { name: `Revoke ${name}` }).click();
    await rows.getByRole("button", { name: "Revoke it" }).click();
  };
  await revoke("first");
  await expect.poll(() => lists).toBe(1);
  await revoke("second");
  await expect(rows.getByText("second")).toBeHidden();
  await expect(rows.getByText("first")).toBeHidden();
  const arrived = page.waitForResponse("**/api/page/tokens");
  arrive();
  await (await arrived).finished();
  await page.evaluate(() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted))));
  await expect(rows.getByText("second")).toBeHidden();
  await page.unrouteAll({ behavior: "wait" });
});

test("what was revoked elsewhere is said, and the focus stays where it was", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(/status of 404/);
  const made = await api.request("POST", "/tokens", { name: "nightly", grants: { everywhere: "viewer" } });
  await open(page, "/tokens");
  const { token } = (await made.json()) as { token: { id: string } };
  expect((await api.request("DELETE", `/tokens/${token.id}`)).status).toBe(204);
  const revoke = page.getByRole("button", { name: "Revoke nightly" });
  await revoke.press("Enter");
  await expect(page.getByRole("button", { name: "Keep it" })).toBeFocused();
  await page.getByRole("button", { name: "Revoke it" }).press("Enter");
  await expect(page.getByRole("listitem").filter({ hasText: "nightly" }).getByRole("alert")).toBeVisible();
  await expect(revoke).toBeFocused();
});

test.describe("somebody whose role changes", () => {
  test.use({ signedIn: false });

  test("keeps the token on screen that was just made", async ({ page, api, stepcast }) => {
    const grace = await stepcast.account("Grace", "builder");
    await stepcast.enter(page, "Grace");
    await open(page, "/tokens");
    await page.getByLabel("What it is for").fill("nightly");
    await page.getByRole("button", { name: "Make a token" }).click();
    const secret = await page.locator(".shown-once code").innerText();
    await api.request("PATCH", `/accounts/${grace}`, { grants: { everywhere: "viewer" } });
    await expect(page.getByLabel("Role everywhere").getByRole("option")).toHaveText(["no role", "viewer"]);
    await expect(page.locator(".shown-once code")).toHaveText(secret);
  });
});

test.describe("a viewer", () => {
  test.use({ signedIn: false });

  test("makes tokens that see, and none that do more", async ({ page, stepcast, expectedComplaints }) => {
    expectedComplaints.push(/status of 422/);
    await stepcast.account("Eve", "viewer");
    await stepcast.enter(page, "Eve");
    await open(page, "/tokens");
    await expect(page.getByText("There is none yet.")).toBeVisible();
    await expect(page.getByLabel("Role everywhere").getByRole("option")).toHaveText(["no role", "viewer"]);
    await page.getByLabel("What it is for").fill("mine");
    await page.getByLabel("Role everywhere").selectOption("no role");
    await page.getByRole("button", { name: "Make a token" }).click();
    await expect(page.getByRole("alert")).toContainText("Nothing is granted");
  });
});
