import { defineConfig } from "vite";

// The built files have fixed names and relative paths: they are committed, compared byte
// by byte, and served below any path. Nothing is inlined, so that the content security
// policy needs no exception.
export default defineConfig({
  base: "./",
  publicDir: "public",
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: false,
    emptyOutDir: true,
    chunkSizeWarningLimit: 400,
    rollupOptions: {
      output: { entryFileNames: "page.js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
});
