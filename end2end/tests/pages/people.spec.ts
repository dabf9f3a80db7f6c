// Who has an account and what they may do: inviting, changing, disabling, removing, and what the last admin cannot do.

import { pipeline } from "../../fixtures/gate";
import { expect, fillIn, open, test } from "../../fixtures/stepcast";

test("an invitation says what it gives and by whom, makes one account, and then no other", async ({ page, api, browser, stepcast }) => {
  await api.apply("site", pipeline("site", { build: "echo hi" }));
  await open(page, "/people");
  await page.getByLabel("For whom").fill("Grace, of the lab");
  await page.getByLabel("Role everywhere").selectOption("no role");
  await page.getByLabel("Add a role in a pipeline").selectOption("site");
  await expect(page.getByLabel("Role in site", { exact: true })).toHaveValue("builder");
  await page.getByRole("button", { name: "Make a link" }).click();
  const once = page.locator(".shown-once");
  await expect(once).toContainText("builder of site");
  const link = await once.locator("code").innerText();
  await expect(once.getByRole("button", { name: "Copy the link" })).toBeVisible();
  const invitations = page.getByRole("list", { name: "Links that nobody has used yet" });
  await expect(invitations).toContainText("Grace, of the lab");

  const theirs = await browser.newContext();
  const tab = await theirs.newPage();
  await tab.goto(link);
  await expect(tab.getByText("Ada invites you. You will be builder of site.")).toBeVisible();
  const told = await (await theirs.request.get(link)).text();
  expect(told).toContain("builder of site");
  expect(told, "what admins noted stays among them").not.toContain("Grace, of the lab");
  await fillIn(tab, { name: "Grace", password: "four green kettles" });
  await tab.getByRole("button", { name: "Sign in" }).click();
  await expect(tab).toHaveURL(`${stepcast.url}/`);
  await expect(tab.getByRole("button", { name: "Build site" })).toBeVisible();
  await tab.goto(link);
  await expect(tab.getByRole("alert")).toContainText("This link was used");
  await theirs.close();

  await page.reload();
  const people = page.getByRole("list", { name: "People" });
  await expect(people.getByRole("listitem").filter({ hasText: "Grace" })).toContainText("builder of site");
  await expect(page.getByText("Grace, of the lab")).toBeHidden();
});

test("an invitation is taken back after a question", async ({ page, browser }) => {
  await open(page, "/people");
  await page.getByRole("button", { name: "Make a link" }).click();
  const link = await page.locator(".shown-once code").innerText();
  const revoke = page.getByRole("button", { name: "Take back the invitation: Somebody" });
  await revoke.click();
  await page.getByRole("button", { name: "Take it back", exact: true }).click();
  await expect(revoke).toBeHidden();
  const theirs = await browser.newContext();
  const tab = await theirs.newPage();
  await tab.goto(link);
  await expect(tab.getByRole("alert")).toContainText("This link was used, taken back");
  await theirs.close();
});

test("the last admin stays one, and is told so beside the account", async ({ page, expectedComplaints }) => {
  expectedComplaints.push(/status of 409/);
  await open(page, "/people");
  const ada = page.getByRole("list", { name: "People" }).getByRole("listitem").filter({ hasText: "Ada" });
  await expect(ada).toContainText("you");
  await ada.getByRole("button", { name: "Disable Ada" }).click();
  await expect(ada.getByRole("alert")).toContainText("the last account that is admin everywhere");
  await ada.getByRole("button", { name: "Change the role of Ada" }).click();
  await ada.getByLabel("Role everywhere").selectOption("viewer");
  await ada.getByRole("button", { name: "Save" }).click();
  await expect(ada.getByRole("alert")).toContainText("the last account that is admin everywhere");
  await ada.getByRole("button", { name: "Remove Ada" }).click();
  await ada.getByRole("button", { name: "Remove it" }).click();
  await expect(ada.getByRole("alert")).toContainText("the last account that is admin everywhere");
});

test("roles are changed, an account is disabled, enabled and removed", async ({ page, stepcast }) => {
  await stepcast.account("Barbara", "viewer");
  await open(page, "/people");
  const barbara = page.getByRole("list", { name: "People" }).getByRole("listitem").filter({ hasText: "Barbara" });
  await barbara.getByRole("button", { name: "Change the role of Barbara" }).click();
  await barbara.getByLabel("Role everywhere").selectOption("admin");
  await barbara.getByRole("button", { name: "Leave it" }).click();
  await barbara.getByRole("button", { name: "Change the role of Barbara" }).click();
  await expect(barbara.getByLabel("Role everywhere")).toHaveValue("viewer");
  await barbara.getByLabel("Role everywhere").selectOption("builder");
  await barbara.getByRole("button", { name: "Save" }).click();
  await expect(barbara).toContainText("builder everywhere");
  await barbara.getByRole("button", { name: "Disable Barbara" }).click();
  await expect(barbara).toContainText("disabled");
  await barbara.getByRole("button", { name: "Enable Barbara" }).click();
  await expect(barbara).not.toContainText("disabled");
  await barbara.getByRole("button", { name: "Remove Barbara" }).click();
  await barbara.getByRole("button", { name: "Remove it" }).click();
  await expect(barbara).toBeHidden();
});
