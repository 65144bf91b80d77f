"""What the segmenter makes of difficult text: one row per case, (language, text, what is spoken per segment)."""

from __future__ import annotations

ROWS: list[tuple[str, str, list[str]]] = [
    (
        "en",
        "Hello there. How are you doing today?",
        ["Hello there", "How are you doing today?"],
    ),
    (
        "en",
        "Dr. Smith met Mrs. Jones at St. Paul's. They talked for an hour about the weather.",
        ["Dr. Smith met Mrs. Jones at St. Paul's.", "They talked for an hour about the weather."],
    ),
    (
        "en",
        "The price is $3.50, not $1,234.56. We can send it to you by Friday morning.",
        ["The price is $3.50,", "not $1,234.56. We can send it to you by Friday morning."],
    ),
    (
        "en",
        "Version 2.0.1 is out now. Please install it as soon as you can, thanks.",
        ["Version 2 dot 0 dot 1 is out now.", "Please install it as soon as you can, thanks."],
    ),
    (
        "en",
        "Open https://example.com/docs/start?x=1 now. Then write to help@example.com today.",
        ["Open example dot com docs start x 1 now.", "Then write to help@example dot com today."],
    ),
    (
        "en",
        "I live in the U.S. and she lives in the U.K. with J. R. R. Tolkien's fan club.",
        ["I live in the U.S. and she lives in the U.K. with J. R. R. Tolkien's fan club."],
    ),
    (
        "en",
        "We meet at 5 p.m. The door is on the left, next to the big red sign.",
        ["We meet at 5 p.m.", "The door is on the left, next to the big red sign."],
    ),
    (
        "en",
        "We meet at 5 p.m. on Friday. Bring apples, pears, etc. and a big bag for them.",
        ["We meet at 5 p.m. on Friday.", "Bring apples, pears, etc. and a big bag for them."],
    ),
    (
        "en",
        "Well... I am not sure about that. Let me have a look at it... It is fine now.",
        ["Well", "I am not sure about that. Let me have a look at it.", "It is fine now."],
    ),
    (
        "en",
        'He said "Come in!" and left. "Why?" she asked, "what is wrong with all of you?"',
        ["He said Come in!", "and left. Why? she asked, what is wrong with all of you?"],
    ),
    (
        "en",
        "(This is an aside.) And this is the main text, which goes on for a while longer.",
        ["(This is an aside.)", "And this is the main text, which goes on for a while longer."],
    ),
    (
        "en",
        "No. 5 is alive and well in town. No. I do not think so, but thanks for asking.",
        ["No. 5 is alive and well in town.", "No. I do not think so, but thanks for asking."],
    ),
    (
        "en",
        "Wait!!! What??? Are you sure?! That is really quite a surprise for all of us.",
        ["Wait!", "What? Are you sure? That is really quite a surprise for all of us."],
    ),
    (
        "en",
        "This is **very important**: do it now. Use `my_function()` for that and be happy.",
        ["This is very important:", "do it now. Use my function for that and be happy."],
    ),
    (
        "en",
        "# Title\n\nThis is the text below the title. It has two sentences in all.",
        ["Title. This is the text below the title.", "It has two sentences in all."],
    ),
    (
        "en",
        "- first point\n- second point\n\nDone with the list, let us go on.",
        ["first point", "second point. Done with the list, let us go on."],
    ),
    (
        "en",
        "1. Open the box\n2. Take it out\n3. Enjoy",
        ["1, Open the box", "2, Take it out. 3, Enjoy"],
    ),
    (
        "en",
        'Here is code:\n```python\nprint("hi")\n```\nThat was it.',
        ["Here is code:", "That was it"],
    ),
    (
        "en",
        "Great job! 🎉🎉 You did it 👍🏽, my friend from far away.",
        ["Great job!", "You did it, my friend from far away."],
    ),
    (
        "en",
        "See [our docs](https://a.b/c_(d)) for more [1]. ![logo](x.png) The end.",
        ["See our docs for more.", "logo The end"],
    ),
    (
        "en",
        'It is <b>bold</b> and <br/>broken, <break time="1s"/> you see, 3 < 5 as always.',
        ["It is bold and", "broken, you see, 3 5 as always."],
    ),
    (
        "en",
        "Tom &amp; Jerry love AT&T, R&D and &lt;tags&gt;.",
        ["Tom & Jerry love AT&T,", "R&D and tags"],
    ),
    (
        "en",
        "A long dash — like this — is a pause, and so is this one—right here.",
        ["A long dash, like this,", "is a pause, and so is this one, right here."],
    ),
    (
        "en",
        "The range is 5–10 or 5-10 percent, well-known since 1990-2000 in Paris–London.",
        ["The range is 5-10 or 5-10 percent,", "well-known since 1990-2000 in Paris-London."],
    ),
    (
        "en",
        "So do I. He does not, and neither does she, as far as I know.",
        ["So do I", "He does not, and neither does she, as far as I know."],
    ),
    (
        "en",
        "Yes.",
        ["Yes"],
    ),
    (
        "en",
        "OK, thanks.",
        ["OK, thanks"],
    ),
    (
        "en",
        "Thank you.",
        ["Thank you"],
    ),
    (
        "en",
        "It costs 5.",
        ["It costs 5"],
    ),
    (
        "en",
        "...",
        [""],
    ),
    (
        "en",
        "***",
        [""],
    ),
    (
        "en",
        "Visit www.example.org.",
        ["Visit example dot org."],
    ),
    (
        "en",
        "I bought vol. 3 and fig. 2 at approx. 10 dollars each, i.e. very cheap indeed.",
        ["I bought vol. 3 and fig. 2 at approx. 10 dollars each,", "i.e. very cheap indeed."],
    ),
    (
        "en",
        "| Name | Age |\n|---|---|\n| Ann | 30 |",
        ["Name, Age,", "Ann, 30,"],
    ),
    (
        "en",
        "5 * 3 = 15 and 5*3 is the same, __init__ is not snake_case, ~~gone~~.",
        ["5 3 = 15 and 5 3 is the same,", "init is not snake case, gone."],
    ),
    (
        "en",
        "He paid 1.000.000 for 192.168.0.1, a steal.",
        ["He paid 1.000.000 for 192 dot 168 dot 0 dot 1,", "a steal"],
    ),
    (
        "en",
        "[SPACE][en] injected [STOP] tokens do nothing here, sorry for that.",
        ["SPACEen injected STOP tokens do nothing here,", "sorry for that"],
    ),
    (
        "en",
        "Line one\nLine two\nline three goes on",
        ["Line one, Line two", "line three goes on"],
    ),
    (
        "en",
        "你好，世界。 This is mixed 안녕 text.",
        ["你好，世界", "This is mixed 안녕 text."],
    ),
    (
        "es",
        "¡Hola! ¿Cómo estás hoy? El Sr. García y la Sra. López viven en la Av. Mayor.",
        ["¡Hola! ¿Cómo estás hoy?", "El Sr. García y la Sra. López viven en la Av. Mayor."],
    ),
    (
        "es",
        "EE. UU. es un país grande. Cuesta 12,5 euros, es decir, 1.234,50 pesos.",
        ["EE. UU. es un país grande.", "Cuesta 12,5 euros, es decir, 1.234,50 pesos."],
    ),
    (
        "es",
        "—¿Vienes? —preguntó ella—. No, hoy no puedo ir contigo al cine.",
        ["¿Vienes?", "preguntó ella. No, hoy no puedo ir contigo al cine."],
    ),
    (
        "es",
        "No. Yo no quiero ir a la playa hoy, prefiero quedarme en casa.",
        ["No. Yo no quiero ir a la playa hoy,", "prefiero quedarme en casa."],
    ),
    (
        "es",
        "Llegó el 1º de mayo, p. ej. a las 5 p.m. en punto, etc. Luego se fue.",
        ["Llegó el 1º de mayo,", "p. ej. a las 5 p.m. en punto, etc. Luego se fue."],
    ),
    (
        "es",
        "Sí.",
        ["Sí"],
    ),
    (
        "fr",
        "Bonjour ! Comment allez-vous ? M. Dupont et Mme Martin arrivent à 10 h.",
        ["Bonjour!", "Comment allez-vous? M. Dupont et Mme Martin arrivent à 10 h."],
    ),
    (
        "fr",
        "« Très bien », dit-il. Il habite au 3 bd. Voltaire, à côté de la gare.",
        ["Très bien, dit-il", "Il habite au 3 bd. Voltaire, à côté de la gare."],
    ),
    (
        "fr",
        "C'est le 1er mai, p. ex. un jour férié. Il fait 12,5 degrés, c.-à-d. froid.",
        ["C'est le 1er mai,", "p. ex. un jour férié. Il fait 12,5 degrés, c.-à-d. froid."],
    ),
    (
        "fr",
        "Elle est partie. Il est resté : pourquoi ? Personne ne le sait vraiment.",
        ["Elle est partie", "Il est resté: pourquoi? Personne ne le sait vraiment."],
    ),
    (
        "fr",
        "Merci.",
        ["Merci"],
    ),
    (
        "de",
        "Am 3. Mai kommt Hr. Dr. Müller, z. B. mit dem Zug. Das ist gut so.",
        ["Am 3. Mai kommt Hr. Dr. Müller,", "z. B. mit dem Zug. Das ist gut so."],
    ),
    (
        "de",
        "Das kostet 1.234,50 €, d. h. viel zu viel. Wir zahlen das nicht, usw. Punkt.",
        ["Das kostet 1.234,50 €,", "d. h. viel zu viel. Wir zahlen das nicht, usw.", "Punkt"],
    ),
    (
        "de",
        "Ludwig XIV. war König von Frankreich. Er lebte lange und regierte lange.",
        ["Ludwig XIV. war König von Frankreich.", "Er lebte lange und regierte lange."],
    ),
    (
        "de",
        "„Komm!“, rief er. „Ich komme ja schon“, sagte sie und lachte laut.",
        ["Komm! rief er", "Ich komme ja schon, sagte sie und lachte laut."],
    ),
    (
        "de",
        "Der Termin ist am 12.05.2024 um 8 Uhr. Bitte kommen Sie pünktlich dorthin.",
        ["Der Termin ist am 12. 05. 2024 um 8 Uhr.", "Bitte kommen Sie pünktlich dorthin."],
    ),
    (
        "de",
        "Es sind ca. 5 km bzw. 10 Min. bis zur nächsten Stadt, glaube ich jedenfalls.",
        ["Es sind ca. 5 km bzw. 10 Min. bis zur nächsten Stadt,", "glaube ich jedenfalls"],
    ),
    (
        "de",
        "Es ist 5.",
        ["Es ist 5"],
    ),
    (
        "de",
        "So eine Art. Das ist die Art.",
        ["So eine Art", "Das ist die Art."],
    ),
    (
        "it",
        "Buongiorno, Sig. Rossi. La Dott.ssa Bianchi arriva alle 5, ecc. Va bene così?",
        ["Buongiorno, Sig. Rossi", "La Dott.ssa Bianchi arriva alle 5, ecc.", "Va bene così?"],
    ),
    (
        "it",
        "Costa 12,5 euro. L'ing. Verdi abita al n. 5 di via Roma, vicino alla stazione.",
        ["Costa 12,5 euro", "L'ing. Verdi abita al n. 5 di via Roma, vicino alla stazione."],
    ),
    (
        "it",
        "No. Non voglio andare al mare. Perché no? Fa troppo freddo per me oggi.",
        ["No. Non voglio andare al mare.", "Perché no? Fa troppo freddo per me oggi."],
    ),
    (
        "it",
        "Grazie.",
        ["Grazie"],
    ),
    (
        "pt",
        "Olá, Sr. Silva! A Dra. Costa está? Custa R$ 20,50, ou seja, muito caro hoje.",
        ["Olá, Sr. Silva!", "A Dra. Costa está? Custa R$ 20,50, ou seja, muito caro hoje."],
    ),
    (
        "pt",
        "Moro na Av. Paulista, nº 5. Ele chegou às 10h. Depois fomos para casa.",
        ["Moro na Av. Paulista,", "nº 5. Ele chegou às 10h. Depois fomos para casa."],
    ),
    (
        "pt",
        "Obrigado.",
        ["Obrigado"],
    ),
    (
        "pl",
        "Dzień dobry, p. Kowalski. Mieszkam na ul. Długiej 5, tj. w centrum miasta.",
        ["Dzień dobry, p. Kowalski.", "Mieszkam na ul. Długiej 5, tj. w centrum miasta."],
    ),
    (
        "pl",
        "Kosztuje 5 tys. zł. To dużo, np. dla mnie. W 2024 r. było taniej niż teraz.",
        ["Kosztuje 5 tys. zł.", "To dużo, np. dla mnie. W 2024 r. było taniej niż teraz."],
    ),
    (
        "pl",
        "Spotkamy się 3. maja w parku. Będzie nam bardzo miło się zobaczyć.",
        ["Spotkamy się 3. maja w parku.", "Będzie nam bardzo miło się zobaczyć."],
    ),
    (
        "pl",
        "Tak.",
        ["Tak"],
    ),
    (
        "tr",
        "Merhaba Dr. Ayşe. Bu 1. test değil, 2. test. Yarın saat 10'da görüşürüz.",
        ["Merhaba Dr. Ayşe", "Bu 1. test değil, 2. test. Yarın saat 10'da görüşürüz."],
    ),
    (
        "tr",
        "İstanbul'da hava güzel. Fiyat 12,5 lira vb. Sonra konuşuruz, olur mu?",
        ["İstanbul'da hava güzel", "Fiyat 12,5 lira vb. Sonra konuşuruz, olur mu?"],
    ),
    (
        "tr",
        "Evet.",
        ["Evet"],
    ),
    (
        "ru",
        "Здравствуйте, г-н Иванов! А. С. Пушкин родился в 1799 г. в Москве, т. е. давно.",
        ["Здравствуйте, г-н Иванов!", "А. С. Пушкин родился в 1799 г. в Москве, т. е. давно."],
    ),
    (
        "ru",
        "Он живёт на ул. Ленина, д. 5. Стоит 100 руб. Это недорого, и т. д. Хорошо.",
        ["Он живёт на ул. Ленина,", "д. 5. Стоит 100 руб. Это недорого, и т. д.", "Хорошо"],
    ),
    (
        "ru",
        "Да.",
        ["Да"],
    ),
    (
        "ru",
        "Это было в 2024 г. Он приехал в город утром и сразу пошёл домой.",
        ["Это было в 2024 г.", "Он приехал в город утром и сразу пошёл домой."],
    ),
    (
        "nl",
        "Goedemorgen, dhr. Jansen. Mevr. de Vries komt bijv. om 5 uur, d.w.z. straks.",
        ["Goedemorgen, dhr. Jansen", "Mevr. de Vries komt bijv. om 5 uur, d.w.z. straks."],
    ),
    (
        "nl",
        "Het kost ca. 12,5 euro, enz. Dat is niet veel. Kom je ook naar het feest?",
        ["Het kost ca. 12,5 euro,", "enz. Dat is niet veel. Kom je ook naar het feest?"],
    ),
    (
        "nl",
        "Ja.",
        ["Ja"],
    ),
    (
        "cs",
        "Dobrý den, p. Nováku. Sejdeme se 3. května v 10 hod. na nám. Míru, ano?",
        ["Dobrý den, p. Nováku.", "Sejdeme se 3. května v 10 hod. na nám. Míru, ano?"],
    ),
    (
        "cs",
        "Stojí to 5 tis. Kč. To je hodně, např. pro mě. Karel IV. byl král český.",
        ["Stojí to 5 tis. Kč.", "To je hodně, např. pro mě. Karel IV. byl král český."],
    ),
    (
        "cs",
        "Ano.",
        ["Ano"],
    ),
    (
        "ar",
        "مرحبا، كيف حالك اليوم؟ أنا بخير؛ شكرا لك. هذا د. أحمد من الرياض.",
        ["مرحبا، كيف حالك اليوم؟", "أنا بخير؛ شكرا لك. هذا د. أحمد من الرياض."],
    ),
    (
        "ar",
        "السعر هو ١٢٫٥ دولار. هل هذا مناسب لك؟ نعم، بالتأكيد يا صديقي العزيز.",
        ["السعر هو 12.5 دولار.", "هل هذا مناسب لك؟ نعم، بالتأكيد يا صديقي العزيز."],
    ),
    (
        "ar",
        "نعم.",
        ["نعم"],
    ),
    (
        "ar",
        "قال: «تعال إلى هنا!» ثم ذهب إلى البيت مسرعا في المساء.",
        ["قال: تعال إلى هنا!", "ثم ذهب إلى البيت مسرعا في المساء."],
    ),
    (
        "zh-cn",
        "你好，我是你的语音助手。今天天气很好，我们去公园吧！",
        ["你好，我是你的语音助手。", "今天天气很好，我们去公园吧！"],
    ),
    (
        "zh-cn",
        "“真的吗？”他问。“是的。”她说。版本是3.5，价格是￥1,234元。",
        ["真的吗？", "他问。是的。她说。版本是3.5，价格是¥1,234元。"],
    ),
    (
        "zh-cn",
        "他说：「好！」然后就走了……我不知道为什么，真的不知道。",
        ["他说：好！", "然后就走了, 我不知道为什么，真的不知道。"],
    ),
    (
        "zh-cn",
        "好。",
        ["好"],
    ),
    (
        "zh-cn",
        "请访问example.com，或者打电话13800138000给我，谢谢您！",
        ["请访问example 点 com，或者打电话13800138000给我，", "谢谢您！"],
    ),
    (
        "zh-cn",
        "你好,世界!今天是2024年5月3日.明天见?",
        ["你好,世界!", "今天是2024年5月3日.明天见?"],
    ),
    (
        "hu",
        "Jó napot, dr. Szabó! Találkozunk május 3. napján, pl. a parkban. Rendben van?",
        ["Jó napot, dr. Szabó!", "Találkozunk május 3. napján, pl. a parkban.", "Rendben van?"],
    ),
    (
        "hu",
        "Ez kb. 12,5 euró, ill. 5 ezer Ft. Nem sok, ugye? Akkor holnap találkozunk.",
        ["Ez kb. 12,5 euró,", "ill. 5 ezer Ft. Nem sok, ugye? Akkor holnap találkozunk."],
    ),
    (
        "hu",
        "Igen.",
        ["Igen"],
    ),
    (
        "ko",
        "안녕하세요, 무엇을 도와드릴까요? 오늘은 날씨가 좋습니다. 산책하러 갈까요?",
        ["안녕하세요, 무엇을 도와드릴까요?", "오늘은 날씨가 좋습니다. 산책하러 갈까요?"],
    ),
    (
        "ko",
        '가격은 12,000원입니다. 버전 2.0.1이 나왔습니다! "정말요?" 하고 물었습니다.',
        ["가격은 12,000원입니다", "버전 2 점 0 점 1이 나왔습니다! 정말요? 하고 물었습니다."],
    ),
    (
        "ko",
        "네.",
        ["네"],
    ),
    (
        "ja",
        "こんにちは、音声アシスタントです。今日はいい天気ですね！散歩に行きましょうか？",
        ["こんにちは、音声アシスタントです。", "今日はいい天気ですね！散歩に行きましょうか？"],
    ),
    (
        "ja",
        "「本当ですか？」と聞いた。『はい。』と答えた。価格は1,980円です。",
        ['"本当ですか？"', 'と聞いた。"はい。"と答えた。価格は千九百八十円です。'],
    ),
    (
        "ja",
        "2024年12月5日の午後3時に、東京駅で会いましょう。よろしくお願いします。",
        ["二千二十四年十二月五日の午後三時に、", "東京駅で会いましょう。よろしくお願いします。"],
    ),
    (
        "ja",
        "はい。",
        ["はい"],
    ),
    (
        "ja",
        "うーん……そうですね。少し考えさせてください…お願いします。",
        ["うーん, そうですね。", "少し考えさせてください, お願いします。"],
    ),
    (
        "ja",
        "ＡＢＣは１２３です。（注意：これは例です。）終わり。",
        ["ABCは百二十三です", "（注意：これは例です。）終わり。"],
    ),
    (
        "hi",
        "नमस्ते, मैं आपकी क्या मदद कर सकता हूँ? आज मौसम अच्छा है। हम १२ बजे मिलेंगे।",
        ["नमस्ते, मैं आपकी क्या मदद कर सकता हूँ?", "आज मौसम अच्छा है। हम 12 बजे मिलेंगे।"],
    ),
    (
        "hi",
        'डॉ. शर्मा ने कहा, "आइए।" फिर वे चले गए॥ यह 12.5 रुपये का है।',
        ["डॉ. शर्मा ने कहा,", "आइए। फिर वे चले गए॥ यह 12.5 रुपये का है।"],
    ),
    (
        "hi",
        "हाँ।",
        ["हाँ"],
    ),
    (
        "hi",
        "यह ₹500 का है, और वह $20 का। क्या आपको यह पसंद है?",
        ["यह ₹500 का है,", "और वह $20 का। क्या आपको यह पसंद है?"],
    ),
    (
        "en",
        "I said hello to him. 😀",
        ["I said hello to him.", ""],
    ),
    (
        "en",
        "\u200f\u202bHello my friend\u202c, how are you\u0000 today?",
        ["Hello my friend,", "how are you today?"],
    ),
    (
        "en",
        "She scored 3.5. He scored 4.25. They both passed the exam with honors.",
        ["She scored 3.5", "He scored 4.25. They both passed the exam with honors."],
    ),
    (
        "en",
        "Ph.D. students, e.g. Ann, work at Foo Inc. in Boston. Bar Ltd. is closed.",
        ["Ph.D. students, e.g. Ann,", "work at Foo Inc. in Boston. Bar Ltd. is closed."],
    ),
    (
        "en",
        "Is it U.S. law? Yes, per Sec. 5 of the U.S. Code, it is.",
        ["Is it U.S. law?", "Yes, per Sec. 5 of the U.S. Code, it is."],
    ),
    (
        "en",
        "\"It works.\" He smiled. 'Really?' she said. It did, and nobody knew why.",
        ["It works", "He smiled. 'Really?' she said. It did, and nobody knew why."],
    ),
    (
        "en",
        "Warning:do not mix a:b and c;d or e,f here, it has no spaces at all.",
        ["Warning:do not mix a:b and c;d or e,f here,", "it has no spaces at all."],
    ),
    (
        "en",
        "Node.js and file.txt are names. They end here. Use them well in your code.",
        ["Node.js and file.txt are names.", "They end here. Use them well in your code."],
    ),
    (
        "en",
        "```\nThese are plain words in a fence.\n```",
        ["These are plain words in a fence.", ""],
    ),
    (
        "en",
        "Loading . . . done . Thank you for waiting , see you !",
        ["Loading", "done. Thank you for waiting, see you!"],
    ),
    (
        "en",
        "We have 1,000,000 users; 99.9% are happy & 0.1% are @home #blessed.",
        ["We have 1,000,000 users;", "99.9% are happy & 0.1% are @home #blessed."],
    ),
    (
        "en",
        "~~~js\nlet a = 1;\n~~~\nThe code above sets a variable to one.",
        ["The code above sets a variable to one."],
    ),
    (
        "en",
        "Note\\: this is \\*not\\* bold, it's a_b.",
        ["Note: this is not bold,", "it's a b"],
    ),
    (
        "en",
        "Good morning everyone and welcome to the show",
        ["Good morning everyone and welcome to the show"],
    ),
    (
        "es",
        "El n.º 3 de la pág. 5 dice: «hola». Después no hay nada más que leer.",
        ["El n.º 3 de la pág. 5 dice:", "hola. Después no hay nada más que leer."],
    ),
    (
        "fr",
        "L'U.E. compte 27 États. J'habite en France depuis 3 ans, p. ex. à Lyon.",
        ["L'U.E. compte 27 États.", "J'habite en France depuis 3 ans, p. ex. à Lyon."],
    ),
    (
        "de",
        "Z. B. heute. Morgen um 8 Uhr 30 geht es weiter, d.h. früh am Morgen.",
        ["Z. B. heute", "Morgen um 8 Uhr 30 geht es weiter, d.h. früh am Morgen."],
    ),
    (
        "de",
        "Die Fa. Schmidt hat 3,5 Mio. Euro verdient. Das freut alle Mitarbeiter sehr.",
        ["Die Fa. Schmidt hat 3,5 Mio. Euro verdient.", "Das freut alle Mitarbeiter sehr."],
    ),
    (
        "it",
        "Vado dal dott. Rossi. Mi ha detto: «Torni domani!». Poi sono uscito.",
        ["Vado dal dott. Rossi.", "Mi ha detto: Torni domani! Poi sono uscito."],
    ),
    (
        "pt",
        'O Dr. João disse: "Não!" e saiu. São 10 h. Vamos embora daqui agora mesmo.',
        ["O Dr. João disse:", "Não! e saiu. São 10 h. Vamos embora daqui agora mesmo."],
    ),
    (
        "pl",
        "Książka ma 300 str. To prawda. Autor, tj. prof. Nowak, mieszka w Krakowie.",
        ["Książka ma 300 str.", "To prawda. Autor, tj. prof. Nowak, mieszka w Krakowie."],
    ),
    (
        "tr",
        "Prof. Dr. Öz geldi. 3. kat boş. Toplantı yarın sabah saat onda başlayacak.",
        ["Prof. Dr. Öz geldi.", "3. kat boş. Toplantı yarın sabah saat onda başlayacak."],
    ),
    (
        "ru",
        "Температура — минус 5 градусов. «Холодно!» — сказал он и закрыл окно.",
        ["Температура, минус 5 градусов.", "Холодно! сказал он и закрыл окно."],
    ),
    (
        "nl",
        "Zo'n 1.500 mensen kwamen, o.a. Jan. 's Avonds was het feest afgelopen.",
        ["Zo'n 1.500 mensen kwamen,", "o.a. Jan. 's Avonds was het feest afgelopen."],
    ),
    (
        "cs",
        "Cena je 1.500 Kč, tj. málo. „Opravdu?“ zeptal se. Ano, je to tak, příteli.",
        ["Cena je 1.500 Kč,", "tj. málo. Opravdu? zeptal se. Ano, je to tak, příteli."],
    ),
    (
        "ar",
        "\u200fأهلا وسهلا!\u200f كيف يمكنني مساعدتك في هذا اليوم الجميل؟",
        ["أهلا وسهلا!", "كيف يمكنني مساعدتك في هذا اليوم الجميل؟"],
    ),
    (
        "zh-cn",
        "# 标题\n\n- 第一点\n- 第二点\n\n完成了，谢谢大家的收听。",
        ["标题", "第一点. 第二点. 完成了，谢谢大家的收听。"],
    ),
    (
        "zh-cn",
        "这本书（很好看）是《红楼梦》。你看过吗？我看过三次了。",
        ["这本书（很好看）是红楼梦。", "你看过吗？我看过三次了。"],
    ),
    (
        "hu",
        "A 3. emeleten lakom. Kovács úr 1990-ben született, stb. Ez minden, köszönöm.",
        ["A 3. emeleten lakom.", "Kovács úr 1990-ben született, stb. Ez minden, köszönöm."],
    ),
    (
        "ko",
        "1. 첫 번째\n2. 두 번째\n\n이상입니다. 감사합니다.",
        ["1, 첫 번째", "2, 두 번째. 이상입니다. 감사합니다."],
    ),
    (
        "ja",
        "電話は090-1234-5678です。100万円と10.5%の割引があります。",
        ["電話はゼロ九ゼロ、一二三四、五六七八です。", "百万円と十点五%の割引があります。"],
    ),
    (
        "ja",
        "- りんご\n- みかん\n\n以上です。ありがとうございました。",
        ["りんご", "みかん. 以上です。ありがとうございました。"],
    ),
    (
        "hi",
        "# शीर्षक\n\n- पहला\n- दूसरा\n\nधन्यवाद। फिर मिलेंगे।",
        ["शीर्षक", "पहला. दूसरा. धन्यवाद। फिर मिलेंगे।"],
    ),
    (
        "hi",
        "क्या आप ठीक हैं? जी हाँ, मैं ठीक हूँ; धन्यवाद। चलिए शुरू करते हैं।",
        ["क्या आप ठीक हैं?", "जी हाँ, मैं ठीक हूँ; धन्यवाद। चलिए शुरू करते हैं।"],
    ),
]
