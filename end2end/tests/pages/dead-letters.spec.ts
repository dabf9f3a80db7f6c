// The page of the dead letters: what could not be processed and why, and what a person decides on it.

import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";

import { pipeline } from "../../fixtures/gate";
import { poison } from "../../fixtures/poison";
import { expect, LOST_LINE, open, test, type Api, type Installation } from "../../fixtures/stepcast";

const UNKNOWN = JSON.stringify({ version: 9, what: "<b>from the future</b>", list: [1, 2] });

test("without any, the page explains what would be there, and the header says nothing", async ({ page }) => {
  await open(page, "/dead-letters");
  await expect(page).toHaveTitle("Dead letters · Stepcast");
  await expect(page.getByText("There are none.")).toBeVisible();
  await expect(page.getByRole("heading", { name: "Decided on" })).toBeHidden();
  await page.getByRole("link", { name: "Gateways" }).click();
  await expect(page.locator("header").getByRole("link", { name: "Dead letters" })).toBeHidden();
  await page.locator("main").getByRole("link", { name: "dead letters" }).click();
  await expect(page).toHaveTitle("Dead letters · Stepcast");
});

test("each is listed with its reason, and its body is read when it is asked for, as text", async ({ page, stepcast }) => {
  await poison(stepcast, "control", ["nonsense", UNKNOWN]);
  await open(page, "/");
  const link = page.locator("header").getByRole("link", { name: "Dead letters 2" });
  await link.click();
  const letters = page.getByRole("list", { name: "Open" }).locator("> li");
  await expect(letters).toHaveCount(2);
  await expect(page.locator(".heading")).toContainText("2 open");
  const [unknown, nonsense] = [letters.filter({ hasText: "Unknown version" }), letters.filter({ hasText: "Not JSON" })];
  await expect(unknown).toContainText("from the queue control");
  await expect(unknown).toContainText("the message has version 9, this Stepcast reads version 1");
  await expect(nonsense).toContainText("Message, 8 bytes");
  await unknown.getByText(/^Message,/).click();
  const body = unknown.getByRole("region", { name: "Body" });
  await expect(body).toHaveText('{\n  "version": 9,\n  "what": "<b>from the future</b>",\n  "list": [\n    1,\n    2\n  ]\n}');
  await expect(body.locator("b")).toHaveCount(0);
  await nonsense.getByText(/^Message,/).click();
  await expect(nonsense.getByRole("region", { name: "Body" })).toHaveText("nonsense");
});

test("what is retried and dies again stays, what is discarded goes, and the question comes first", async ({ page, stepcast }) => {
  await poison(stepcast, "control", ["nonsense", UNKNOWN]);
  await open(page, "/dead-letters");
  const letters = page.getByRole("list", { name: "Open" }).locator("> li");
  const nonsense = letters.filter({ hasText: "Not JSON" });
  await nonsense.getByRole("button", { name: /^Retry/ }).click();
  await expect(nonsense).toContainText("2 times");

  // By the keyboard alone.
  await nonsense.getByRole("button", { name: /^Discard/ }).focus();
  await page.keyboard.press("Enter");
  await expect(nonsense.getByRole("button", { name: "Keep it" })).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(nonsense.getByRole("button", { name: /^Discard:/ })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(nonsense.getByRole("button", { name: "Keep it" })).toBeFocused();
  await page.keyboard.press("Shift+Tab");
  await expect(nonsense.getByRole("button", { name: "Discard it" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(letters).toHaveCount(1);
  await expect(page.getByRole("heading", { name: "Dead letters", level: 1 })).toBeFocused();
  const decided = page.getByRole("list", { name: "Decided on" }).locator("> li");
  await expect(decided).toHaveCount(1);
  await expect(decided).toContainText("Discarded ");
  await expect(decided.getByRole("button")).toHaveCount(0);
  await expect(page.locator("header").getByRole("link", { name: "Dead letters 1" })).toBeVisible();
});

/** A build of `fragile` whose page is open, and whose executor was killed with the server while its job ran. */
async function buildThatLostItsExecutor(page: Page, api: Api, stepcast: Installation, lostAttempts: number): Promise<string> {
  await api.apply("fragile", pipeline("fragile", { work: { lost_attempts: lostAttempts, steps: [{ run: "echo up; exec sleep 600" }] } }));
  const id = await api.trigger("fragile");
  await open(page, `/builds/${id}`);
  await expect(page.locator(".log")).toContainText("up");
  await stepcast.kill();
  await stepcast.restart();
  return id;
}

test("a job that was given up leads to its build and is retried from here", async ({ page, api, stepcast, expectedComplaints }) => {
  expectedComplaints.push(LOST_LINE);
  const id = await buildThatLostItsExecutor(page, api, stepcast, 1);
  await open(page, "/dead-letters");
  const letter = page.getByRole("list", { name: "Open" }).locator("> li");
  await expect(letter).toContainText("Job given up", { timeout: 60_000 });
  await expect(letter).toContainText(/its executor was lost: /);
  await expect(letter.getByText(/^Message,/)).toHaveCount(0);
  await letter.getByRole("button", { name: /^Retry/ }).click();
  await expect(page.getByRole("list", { name: "Decided on" })).toContainText("Retried ");
  await page.getByRole("list", { name: "Decided on" }).getByRole("link", { name: "fragile #1" }).click();
  await expect(page).toHaveTitle(/^(queued|running) · fragile #1 · Stepcast$/);
  await api.request("POST", `/builds/${id}/cancel`);
});

test("a build says which attempt was lost and what follows, where it is open and where it is read again", async ({ page, api, stepcast, expectedComplaints }) => {
  expectedComplaints.push(LOST_LINE);
  const id = await buildThatLostItsExecutor(page, api, stepcast, 3);
  const told = page.getByText(/^Executor ex-\w{4} was lost; attempt 2 of 3\.$/);
  await expect(told).toBeVisible({ timeout: 60_000 });
  await page.reload();
  await expect(told).toBeVisible();
  await api.request("POST", `/builds/${id}/cancel`);
  await expect(page).toHaveTitle(/^cancelled/);
  await expect(told).toBeVisible();
});

test("a refusal is told in its row", async ({ page, stepcast, expectedComplaints }) => {
  expectedComplaints.push(/status of 409/);
  await poison(stepcast, "dead", ["from nowhere"]);
  await open(page, "/dead-letters");
  const letter = page.getByRole("list", { name: "Open" }).locator("> li");
  await expect(letter.getByRole("button", { name: /^Retry/ })).toBeDisabled();
  await expect(letter).toContainText("It is not known where it came from.");
  await page.route("**/api/v1/dead-letters/*/discard", (route) =>
    route.fulfill({ status: 409, contentType: "application/problem+json", body: JSON.stringify({ type: "about:blank", title: "Not possible now", status: 409, detail: "Somebody else decided." }) }),
  );
  await letter.getByRole("button", { name: /^Discard/ }).click();
  await letter.getByRole("button", { name: "Discard it" }).click();
  await expect(letter).toContainText("Somebody else decided.");
});

test.describe("without scripts", () => {
  test.use({ javaScriptEnabled: false });

  test("the page reads whole", async ({ page, stepcast }) => {
    await poison(stepcast, "control", ["nonsense"]);
    await page.goto("/dead-letters");
    await expect(page.getByRole("list", { name: "Open" })).toContainText("the message is not valid");
    await expect(page.getByRole("button", { name: /^Retry/ })).toBeHidden();
    await page.getByText(/^Message,/).click();
    await expect(page.getByRole("link", { name: "As JSON" })).toBeVisible();
  });
});

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of [1280, 360]) {
    test(`axe finds nothing serious, and nothing is cut off, ${colorScheme}, ${width} pixels wide`, async ({ page, stepcast }) => {
      await poison(stepcast, "control", ["nonsense", UNKNOWN, "x".repeat(300)]);
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      await open(page, "/dead-letters");
      const letter = page.getByRole("list", { name: "Open" }).locator("> li").filter({ hasText: "Unknown version" });
      await letter.getByText(/^Message,/).click();
      await expect(letter.getByRole("region", { name: "Body" })).toBeVisible();
      await page.getByRole("button", { name: /^Discard: Not JSON/ }).first().click();
      const { violations } = await new AxeBuilder({ page }).analyze();
      const serious = violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
      expect(serious).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
    });
  }
}
