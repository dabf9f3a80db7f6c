// From signing in to a finished build without a mouse: only Tab, Enter and letters.

import { Gate, pipeline } from "../../fixtures/gate";
import { reaches } from "../../fixtures/log";
import { expect, connection, test } from "../../fixtures/stepcast";
import type { Page } from "@playwright/test";

/** More presses of Tab than any page has places. */
const TABS_MAX = 60;

/** Presses Tab until the place with this name has the focus, which must be seen there. */
async function tabTo(page: Page, role: string, name: string): Promise<void> {
  const wanted = page.getByRole(role as "button", { name, exact: true });
  for (let presses = 0; presses < TABS_MAX; presses++) {
    await page.keyboard.press("Tab");
    if ((await wanted.count()) === 1 && (await wanted.evaluate((element) => element === document.activeElement))) {
      const seen = await wanted.evaluate((element) => {
        const style = getComputedStyle(element);
        return style.outlineStyle !== "none" || style.boxShadow !== "none";
      });
      expect(seen, `the focus on ${name} can be seen`).toBe(true);
      return;
    }
  }
  throw new Error(`${TABS_MAX} presses of Tab do not reach the ${role} "${name}"`);
}

test.use({ signedIn: false });

test("the keyboard alone signs in, starts a build and watches it to its end", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("talk", pipeline("talk", { work: gate.printUntilOpen }));
  await page.goto(stepcast.signInLink);
  await tabTo(page, "textbox", "Name");
  await page.keyboard.type("Ada");
  await page.keyboard.press("Tab");
  await page.keyboard.type("three blue kettles");
  await tabTo(page, "button", "Sign in");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(`${stepcast.url}/`);
  await expect(connection(page)).toHaveText(/^live/);

  await tabTo(page, "button", "Build talk");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/builds\//);
  await reaches(page, 20);

  await tabTo(page, "button", "Follow");
  await expect(page.getByRole("button", { name: "Follow" })).toHaveAttribute("aria-pressed", "true");
  await page.keyboard.press("Space");
  await expect(page.getByRole("button", { name: "Follow" })).toHaveAttribute("aria-pressed", "false");

  await gate.open();
  await expect(page).toHaveTitle("succeeded · talk #1 · Stepcast");
  await tabTo(page, "link", "talk");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(`${stepcast.url}/pipelines/talk`);
});
