// Tokens for programs: shown once, no wider than who made them, taken back.

import { expect, open, test } from "../../fixtures/stepcast";

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

  await row.getByRole("button", { name: "Revoke nightly" }).click();
  await row.getByRole("button", { name: "Revoke it" }).click();
  await expect(row).toBeHidden();
  expect(await ask("/pipelines")).toBe(401);
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
