// What a screen reader and a person with weak eyes meet: axe on each page, dark and light, wide and narrow.

import AxeBuilder from "@axe-core/playwright";

import { furnish } from "../../fixtures/pages";
import { expect, open, test } from "../../fixtures/stepcast";

const WIDTHS = [1280, 360];

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of WIDTHS) {
    test(`axe finds nothing serious on any page, ${colorScheme}, ${width} pixels wide`, async ({ page, api, expectedComplaints }) => {
      expectedComplaints.push(/status of 404/);
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      for (const { name, address } of await furnish(api)) {
        await open(page, address);
        const { violations, passes } = await new AxeBuilder({ page }).analyze();
        const serious = violations
          .filter(({ impact }) => impact === "serious" || impact === "critical")
          .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
        expect.soft(serious, name).toEqual([]);
        expect(passes.length, `checks that axe made of ${name}`).toBeGreaterThan(10);
      }
    });
  }
}
