// One's own account: what one may do, another password, and the end of all sessions.

import { expect, fillIn, open, person, test } from "../../fixtures/stepcast";

test("the password is changed by who knows the present one, and what is wrong is said beside it", async ({ page, browser, stepcast, expectedComplaints }) => {
  expectedComplaints.push(/status of 4(03|22)/);
  await open(page, "/account");
  await expect(page.getByText("You are admin everywhere.")).toBeVisible();
  const change = async (old: string, next: string) => {
    await page.getByLabel("The present one").fill(old);
    await page.getByLabel("The new one").fill(next);
    await page.getByRole("button", { name: "Change the password" }).click();
  };
  const field = (label: string) => page.locator(".field").filter({ has: page.getByLabel(label) });
  await change("not it at all", "four green kettles");
  await expect(field("The present one").getByRole("alert")).toContainText("The old password is not right");
  await change(person.password, "short");
  await expect(field("The new one").getByRole("alert")).toContainText("at least 12 characters");
  await change(person.password, "four green kettles");
  await expect(page.getByText("It is changed")).toBeVisible();
  await expect(page.getByLabel("The present one")).toHaveValue("");
  await page.reload();
  await expect(page.getByRole("heading", { name: "Ada" })).toBeVisible();

  const elsewhere = await browser.newContext();
  const tab = await elsewhere.newPage();
  await tab.goto(`${stepcast.url}/sign-in`);
  await fillIn(tab);
  await tab.getByRole("button", { name: "Sign in" }).click();
  await expect(tab.getByRole("alert")).toContainText("do not belong together");
  await fillIn(tab, { name: "Ada", password: "four green kettles" });
  await tab.getByRole("button", { name: "Sign in" }).click();
  await expect(tab).toHaveURL(`${stepcast.url}/`);
  await elsewhere.close();
});

test("the menu leads to what belongs to one, and closes", async ({ page }) => {
  await open(page, "/");
  const menu = page.getByRole("button", { name: "Signed in as Ada" });
  await menu.click();
  for (const name of ["Account", "Tokens", "People", "Audit log"]) {
    await expect(page.getByRole("link", { name, exact: true })).toBeVisible();
  }
  await page.keyboard.press("Escape");
  await expect(page.getByRole("link", { name: "Tokens", exact: true })).toBeHidden();
  await menu.click();
  await page.getByRole("link", { name: "Tokens", exact: true }).click();
  await expect(page).toHaveURL(/\/tokens$/);
  await expect(page.getByRole("heading", { name: "Tokens" })).toBeVisible();
  await expect(page.getByRole("button", { name: "Sign out" })).toBeHidden();
});
