() => {
    const found = [];
    const part = (name) => document.querySelector(`.home-${name}`);
    const shown = (e) => e && e.getClientRects().length > 0;
    const phone = window.innerWidth < 900;
    const tall = phone ? Infinity : window.innerHeight;
    const box = (e) => e.getBoundingClientRect();
    const said = (e) => e.getAttribute('class') || e.textContent;
    const inside = (e, outer, what) => {
        const [a, b] = [box(e), box(outer)];
        const over = Math.max(b.left - a.left, a.right - b.right, b.top - a.top, a.bottom - b.bottom);
        if (over > 1.5) found.push(`${what} is ${over.toFixed(1)} px out of ${said(outer)}`);
    };
    // in the order of the page; none on another, all on the screen
    const all = [
        'past', 'story', 'count', 'title', 'figure', 'did', 'sentence', 'lanes', 'move', 'hold',
        'door', 'chips', 'variants', 'origin', 'scale',
    ].map(part).filter(shown);
    for (const e of all) {
        const { left, right, top, bottom, height } = box(e);
        if (left < -0.5 || right > window.innerWidth + 0.5) found.push(`${said(e)} is cut at a side`);
        if (top + window.scrollY < 0 || bottom > tall + 0.5) found.push(`${said(e)} is cut off`);
        if (height < 8) found.push(`${said(e)} is not seen`);
        for (const other of all) {
            const [a, b] = [box(e), box(other)];
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (e !== other && wide > 1 && high > 1) found.push(`${said(e)} lies on ${said(other)}`);
        }
    }
    for (const e of [...all, part('number'), part('of'), part('said')]) {
        if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth) found.push(`${said(e)} is cut short`);
    }
    if (shown(part('past'))) inside(part('before'), part('past'), 'the text before');
    inside(part('story'), part('text'), 'the story');
    inside(part('did'), part('side'), 'the caption');
    for (const path of part('lines').children) inside(path, part('text'), 'a line');
    const words = [...part('picture').querySelectorAll('text')].filter((e) => e.textContent.trim());
    words.forEach((e, i) => {
        inside(e, part('side'), `“${e.textContent}”`);
        for (const other of words.slice(i + 1)) {
            const [a, b] = [box(e), box(other)];
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 1 && high > 5) found.push(`“${e.textContent}” lies on “${other.textContent}”`);
        }
    });
    if (document.documentElement.scrollWidth > window.innerWidth) found.push('it scrolls sideways');
    const drawn = part('picture');
    if (drawn.children.length < 4) found.push('there is no picture');
    const home = document.querySelector('.home');
    const broken = /NaN|undefined|Infinity|\\bnull\\b|\\{\\w+[,}]/;
    const text = drawn.outerHTML + part('lanes').outerHTML + part('lines').outerHTML + home.textContent;
    if (broken.test(text)) found.push(`“${text.match(broken)[0]}” is in it`);
    return [...new Set(found)];
}
