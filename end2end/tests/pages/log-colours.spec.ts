// The colours of terminals in a log: whatever a program chooses, what it says can be read, in both themes.

import { pipeline } from "../../fixtures/gate";
import { row } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";
import type { Locator } from "@playwright/test";

/** WCAG's measure for text of this size. */
const CONTRAST_MIN = 4.5;

/** What a run of text looks like: its contrast with what is behind it, by the definition of WCAG 2, and that ground. */
async function looks(run: Locator): Promise<{ contrast: number; ground: string; weight: number }> {
  return run.evaluate((element) => {
    const parts = (colour: string) => (colour.match(/[\d.]+/g) ?? []).map(Number);
    const isClear = (colour: string) => parts(colour)[3] === 0;
    const luminance = (colour: string) => {
      const [red, green, blue] = parts(colour)
        .map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    let behind: Element = element;
    while (isClear(getComputedStyle(behind).backgroundColor) && behind.parentElement !== null) behind = behind.parentElement;
    const ground = getComputedStyle(behind).backgroundColor;
    const { color, fontWeight } = getComputedStyle(element);
    const [dark, light] = [luminance(color), luminance(ground)].sort((a, b) => a - b);
    return { contrast: (light + 0.05) / (dark + 0.05), ground, weight: Number(fontWeight) };
  });
}

/** What is printed, each on a line of its own: the parameters of SGR. */
const SIXTEEN = Array.from({ length: 16 }, (_, n) => n);
const front = (n: number) => (n < 8 ? 30 + n : 82 + n);
const back = (n: number) => front(n) + 10;
const CASES = [
  ...SIXTEEN.map((n) => `${front(n)}`),
  ...SIXTEEN.map((n) => `${back(n)}`),
  ...SIXTEEN.map((n) => `1;${back(n)}`),
  ...SIXTEEN.map((n) => `7;${front(n)}`),
  "7",
  "1;7",
  // What programs put together.
  ...["30;42", "30;43", "30;46", "30;47", "30;103", "37;41", "97;41", "37;44", "97;44", "97;45", "37;40", "37;100"],
];

for (const colorScheme of ["light", "dark"] as const) {
  test(`text on a ground of its own can be read, ${colorScheme}`, async ({ page, api }) => {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width: 1280, height: 2_000 });
    const print = CASES.map((codes) => String.raw`printf '\e[${codes}mtext\e[0m\n'`).join("; ");
    await api.apply("colours", pipeline("colours", { work: print }));
    const build = await api.trigger("colours");
    await api.finished(build);
    await open(page, `/builds/${build}`);
    await expect(row(page, CASES.length - 1).locator(".t")).toHaveText("text");
    const own = (await looks(row(page, 0).locator(".t"))).ground;
    for (const [n, codes] of CASES.entries()) {
      const { contrast, ground, weight } = await looks(row(page, n).locator(".t span"));
      expect.soft(contrast, `contrast of ${codes}`).toBeGreaterThanOrEqual(CONTRAST_MIN);
      expect.soft(ground === own, `${codes} has no ground of its own`).toBe(n < 16);
      if (codes.startsWith("1;")) expect.soft(weight, codes).toBe(700);
    }
  });
}
