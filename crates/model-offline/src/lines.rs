//! The sentences of a persona.

/// Lines by register: plain, formal, casual, terse.
pub(crate) type Rows = [&'static [&'static str]; 4];

pub(crate) const GREETINGS: Rows = [
    &[
        "Hello.",
        "Hi.",
        "Hello there.",
        "Good day.",
        "Hi, I hope this is the right place.",
        "Hello, a question.",
    ],
    &[
        "Good day.",
        "Dear {agent} team,",
        "Good day to you.",
        "Hello, and thank you for your time.",
        "Good day, I would be grateful for your help.",
        "Dear Sir or Madam,",
    ],
    &[
        "Hey!",
        "Hi there!",
        "Hey, how's it going?",
        "Hi {agent}!",
        "Hello hello!",
        "Hi! Small thing, hopefully.",
    ],
    &["", "Hi.", "", "Hello.", "Quick one.", ""],
];

pub(crate) const CHATTER: &[&str] = &[
    "I was going to write yesterday, but then my sister came by and the whole day was gone.",
    "I do not write to places like this often, so tell me if I leave something out.",
    "My neighbour says I should have written right away, and my neighbour is usually right.",
    "I am sitting on the train, so my answers may take a moment.",
    "It is raining here, so at least I have the time to deal with this.",
    "I told my whole family about it last night, and everybody had another opinion.",
    "Normally I sort such things out myself, I am good with that, but this time I am stuck.",
    "I had just made myself a cup of tea when I thought: now I will do it.",
];

pub(crate) const PRESSED_MANNERS: &[&str] = &[
    "I do not have much time.",
    "Please make it quick.",
    "I hope that this can be settled now.",
    "I have had a long day, so please no forms.",
];

pub(crate) const NUMBER: Rows = [
    &["It is {number}.", "The number is {number}.", "I have it here: {number}.", "That should be {number}."],
    &["The number is {number}.", "Certainly: {number}.", "According to my papers it is {number}."],
    &["Sure, it's {number}.", "Got it here: {number}.", "Yep, {number}.", "One sec... {number}."],
    &["{number}", "{number}.", "Number {number}."],
];
pub(crate) const NAME: Rows = [
    &["My name is {name}.", "It is {name}.", "I am {name}."],
    &["My name is {name}.", "The name is {name}."],
    &["I'm {name}.", "It's {name}, but {given} is fine."],
    &["{name}.", "{name}"],
];
pub(crate) const EMAIL: Rows = [
    &["My e-mail address is {email}.", "You can write to {email}.", "It is {email}."],
    &["My e-mail address is {email}.", "You may reach me at {email}."],
    &["It's {email}.", "Just use {email}."],
    &["{email}", "E-mail: {email}"],
];
pub(crate) const PHONE: Rows = [
    &["My phone number is {phone}.", "You can call {phone}."],
    &["I can be reached at {phone}.", "My telephone number is {phone}."],
    &["Call me on {phone}.", "It's {phone}."],
    &["{phone}", "Phone: {phone}"],
];
pub(crate) const DATE: Rows = [
    &["That was {date}.", "The date is {date}.", "{date}, if I am not mistaken."],
    &["The date was {date}.", "According to my notes, {date}."],
    &["Must have been {date}.", "That's {date}."],
    &["{date}.", "{date}"],
];
pub(crate) const ADDRESS: Rows = [
    &["The address is {address}.", "I live at {address}."],
    &["My address is {address}.", "The postal address is {address}."],
    &["It's {address}.", "I'm at {address}."],
    &["{address}", "{address}."],
];
pub(crate) const ITEM: Rows = [
    &["It is about {noun}.", "I mean {noun}."],
    &["It concerns {noun}.", "I am referring to {noun}."],
    &["{noun}, that's the one.", "It's {noun}."],
    &["{noun}.", "About {noun}."],
];
pub(crate) const ACCOUNT: Rows = [
    &["Mine is {account}.", "I have {account} here.", "It should be {account}."],
    &["My own is {account}.", "On my papers it is {account}."],
    &["Mine's {account}.", "That'd be {account}."],
    &["{account}", "{account}.", "Mine: {account}"],
];
pub(crate) const DAY: Rows = [
    &["{day} would suit me.", "I could do {day}."],
    &["{day} would be convenient.", "I should prefer {day}."],
    &["{day} works for me.", "How about {day}?"],
    &["{day}.", "{day}, please."],
];
pub(crate) const CODE: Rows = [
    &["I have not received a code.", "There is no code here yet.", "No code has reached me so far."],
    &["I regret to say that no code has reached me.", "I have not received any code as yet."],
    &["Hm, no code here.", "Didn't get any code, sorry."],
    &["No code came.", "Got no code."],
];
pub(crate) const SECRET: Rows = [
    &["I would rather not write that here.", "I do not tell that to anyone. Is there another way?"],
    &["I prefer not to disclose that in writing.", "I would ask you to identify me in another way."],
    &["Sorry, I won't share that here.", "Not comfortable typing that in, sorry."],
    &["Not here.", "I do not share that."],
];

/// Answers about a fact that the persona does not know.
pub(crate) const UNKNOWN: Rows = [
    &["I do not have that at hand.", "I do not have that, sorry."],
    &["I am afraid I do not have that.", "That I do not have, unfortunately."],
    &["Sorry, I don't have that.", "Don't have that one, sorry."],
    &["I do not have it.", "Do not have that."],
];

/// Prefixes for a fact that the agent repeated wrongly.
pub(crate) const CORRECTS: Rows = [
    &["No, that is not right.", "No, that is wrong.", "That is a mistake."],
    &["No, that is not correct.", "I am afraid that is mistaken."],
    &["Nope, that's not right.", "No, that's wrong."],
    &["No.", "Wrong."],
];

pub(crate) const PHOTO: Rows = [
    &[
        "I cannot send pictures here, but I can describe it.",
        "I have no picture to hand. I can tell you what I see.",
    ],
    &[
        "I am afraid that I cannot attach a picture here.",
        "Regrettably, I have no picture that I could send from here.",
    ],
    &["Can't send pics from here, sorry.", "No photo on me right now, sorry."],
    &["No picture here.", "Cannot send one."],
];

/// Prefixes for a fact that was requested again.
pub(crate) const AGAIN: Rows = [
    &["I told you already.", "Once more, then.", "As I wrote before."],
    &[
        "I have already stated this, but please.",
        "I believe that I mentioned it before.",
        "Once again, then.",
    ],
    &["Said that already, but okay.", "Again? Okay.", "Like I said."],
    &["Again:", "Already said.", "See above."],
];

pub(crate) const YES: Rows = [
    &["Yes, that is right.", "Yes.", "Yes, exactly.", "Yes, it is as you say."],
    &["Yes, that is correct.", "Indeed.", "That is right, yes."],
    &["Yep!", "Yeah, that's it.", "Yes, sure.", "Right, exactly."],
    &["Yes.", "Right.", "Correct."],
];
pub(crate) const NO: Rows = [
    &["No, not that I know of.", "No.", "I do not think so.", "No, it is not like that."],
    &["No, I do not believe so.", "I am afraid not.", "No, that is not the case."],
    &["Nope.", "Nah, don't think so.", "No, not really."],
    &["No.", "Not really.", "No, why?"],
];

pub(crate) const TAKE_REFUND: Rows = [
    &["The refund, please.", "Yes, I would like the refund.", "Then please do the refund."],
    &[
        "I should prefer the refund, thank you.",
        "Please proceed with the refund.",
        "A refund would be appropriate.",
    ],
    &["A refund would be great.", "I'll take the refund, please.", "Refund sounds good."],
    &["Refund.", "The refund.", "Refund, please."],
];
pub(crate) const TAKE_REPLACEMENT: Rows = [
    &["The replacement, please.", "Yes, please send a replacement.", "I would like the replacement."],
    &["I should prefer the replacement, thank you.", "Please proceed with the replacement."],
    &["A replacement would be great.", "I'll take the replacement, please."],
    &["Replacement.", "Replacement, please.", "The replacement."],
];
pub(crate) const WANT_OTHER_REFUND: Rows = [
    &["I do not want another one, I want a refund.", "That does not help me. I would like the money back."],
    &["That is not what I asked for: I would like a refund.", "I must insist on the money back."],
    &["Nah, I'd rather have my money back.", "Honestly, just a refund, please."],
    &["No. Refund.", "No, money back."],
];
pub(crate) const WANT_OTHER_REPLACEMENT: Rows = [
    &["I do not want the money. Can you send a replacement?", "I would rather have a replacement."],
    &[
        "I would much rather have a replacement, if I may.",
        "It is the thing itself that I need: a replacement, please.",
    ],
    &["I'd rather have a new one, to be fair. A replacement?", "Can't I just get a replacement?"],
    &["No. Replacement.", "I need the thing. Replacement, please."],
];

pub(crate) const OFF_TOPIC: Rows = [
    &[
        "That is not what I came for. It is about {noun}.",
        "I think that you mean something else. It is about {noun}.",
    ],
    &[
        "I believe there is a misunderstanding. It concerns {noun}.",
        "That is not my concern. It concerns {noun}.",
    ],
    &["Huh? That's not what I'm here for. It's about {noun}.", "Wait, no. It's about {noun}."],
    &["Not what I asked. I mean {noun}.", "No. It is about {noun}."],
];

/// Accepts one of several offers.
pub(crate) const ACCEPTS: Rows = [
    &["Please {act}.", "Then please {act}."],
    &["I would ask you to {act}.", "Kindly {act}."],
    &["Just {act}, please.", "Please {act}, thanks."],
    &["Please {act}."],
];

/// Answers to a question when there is nothing left to want.
pub(crate) const ENOUGH: Rows = [
    &[
        "That is all I need, thank you.",
        "I have what I came for, thank you.",
        "There is nothing else, thank you.",
    ],
    &["Thank you, I have everything that I need.", "I require nothing further, thank you."],
    &["I'm good, thanks!", "That's all I need, thanks!"],
    &["All I need.", "Nothing else.", "I have it all."],
];

pub(crate) const GO_ON: Rows = [
    &["Yes, please do that.", "Yes, go ahead.", "Please do."],
    &["Yes, please proceed.", "I would appreciate that.", "Please do so."],
    &["Yes please!", "Sure, go for it.", "Sounds good, go ahead."],
    &["Yes.", "Do that.", "Go ahead."],
];
pub(crate) const STILL_OPEN: Rows = [
    &["Yes: {noun} is still not settled.", "We have not settled {noun} yet.", "What about {noun}?"],
    &["Yes, indeed: the matter of {noun} is still open.", "May I remind you of {noun}?"],
    &["Well, {noun}? That's still open.", "Yeah, {noun}, that's what I came for."],
    &["Yes. {noun}.", "Still open: {noun}."],
];
pub(crate) const WAITING: Rows = [
    &["All right, I will wait.", "Okay, take a look.", "Thank you, I am here."],
    &["Thank you, I shall wait.", "Please take the time you need."],
    &["No worries, I'm here.", "Sure, take your time."],
    &["OK.", "Waiting.", "Fine."],
];
pub(crate) const NOTHING_HEARD: Rows = [
    &["Hello? Are you still there?", "I did not get an answer.", "There was nothing in your message."],
    &["Excuse me, are you still there?", "I am afraid that your message was empty."],
    &["Hello? Anybody there?", "Your message came through empty."],
    &["Hello?", "Still there?", "Empty message."],
];
pub(crate) const AFTER_SORRY: Rows = [
    &["Thank you for saying so. What can be done about {noun}?", "These things happen. How do we go on?"],
    &["I appreciate the apology. How shall we proceed?", "Thank you. What do you propose?"],
    &["It's okay, not your fault. What now?", "No hard feelings. So what do we do?"],
    &["OK. And now?", "Fine. What now?"],
];
pub(crate) const AFTER_SORRY_SHORT: &[&str] = &[
    "Being sorry does not settle it. What happens now?",
    "I do not need an apology, I need this settled.",
    "Apologies do not get me anywhere. What will you do?",
];
pub(crate) const REFUSED: Rows = [
    &[
        "Is there really no other way?",
        "That is disappointing. What can you do instead?",
        "Why is that not possible?",
    ],
    &[
        "I find that hard to accept. Is there an alternative?",
        "Would you kindly tell me what is possible instead?",
    ],
    &["Oh come on, there must be something.", "Hm, that's a pity. Any other way?"],
    &["Why not?", "What else?", "There must be a way."],
];
pub(crate) const MORE: Rows = [
    &[
        "There is not much more to say. {detail}",
        "It comes down to this. {wants}",
        "What else do you need to know? {detail}",
    ],
    &["Allow me to add this: {detail}", "To be more precise: {detail}", "In short: {wants}"],
    &["Okay, so. {detail}", "Let me put it another way. {wants}", "Okay, more detail: {detail}"],
    &["{detail}", "{wants}", "As said. {wants}"],
];
pub(crate) const WHAT_NOW: Rows = [
    &[
        "And what happens now?",
        "What is the next step?",
        "How does that settle {noun}?",
        "So what do you suggest?",
    ],
    &["May I ask what the next step is?", "And how do we proceed?", "What does that mean for {noun}?"],
    &["Okay, and what happens now?", "So what do we do about {noun}?", "And then?"],
    &["And?", "Next step?", "And {noun}?", "So?"],
];
pub(crate) const LEARN: Rows = [
    &[
        "That helps. And what comes after that?",
        "I see. What should I watch out for?",
        "How would I begin?",
        "Could you give me an example?",
    ],
    &[
        "Thank you. Could you go into more detail?",
        "That is useful. What would be the first step?",
        "Might you give an example?",
    ],
    &["Oh nice. And how do I start?", "Cool, what's the catch?", "Got it. Got an example?"],
    &["OK. First step?", "Example?", "And the risks?"],
];
pub(crate) const PUSHES: &[&str] = &[
    "And when exactly? I need a guarantee that it is there by tomorrow.",
    "Can you promise that it is settled by tomorrow?",
    "I have heard \"soon\" too often. Can you guarantee it by tomorrow?",
    "By when? I want that guaranteed.",
];
pub(crate) const IMPATIENT: &[&str] = &[
    "This takes too long.",
    "I have little time left.",
    "Let us get on with it.",
    "I expected this to be faster.",
    "I am losing patience.",
];
pub(crate) const FOLLOW_UPS: Rows = [
    &[
        "Good. How long will that take?",
        "Thank you. Will I get that in writing?",
        "And do I have to do anything else?",
    ],
    &["Thank you. May I ask how long it will take?", "I appreciate it. Will there be a confirmation?"],
    &["Great! How long does that take?", "Nice, thanks. Do I need to do anything?"],
    &["How long?", "Do I get a mail?", "When?"],
];
pub(crate) const LEARNED: Rows = [
    &[
        "Thank you, that is what I wanted to know.",
        "That helps me, thank you.",
        "Good, now I know how to go on. Thanks.",
    ],
    &["Thank you very much, that answers my question.", "I am obliged to you. That was most helpful."],
    &["Awesome, that's what I needed. Thanks!", "Great, now I get it. Thanks, bye!"],
    &["Thanks. Clear.", "Got it. Thanks.", "Good. Bye."],
];
pub(crate) const THANKS: Rows = [
    &[
        "Thank you, that settles it for me.",
        "That is all I needed. Thanks.",
        "Good, thank you for your help.",
        "No, that is all. Thank you.",
    ],
    &[
        "Thank you very much for your help.",
        "That is satisfactory, thank you. Good day.",
        "I am much obliged. Goodbye.",
    ],
    &["Perfect, thanks a lot!", "Great, you made my day. Bye!", "Thanks, that's all!", "Lovely, thank you!"],
    &["Thanks.", "Good. Bye.", "That is all. Thanks.", "Fine. Thanks."],
];
pub(crate) const GIVES_UP: Rows = [
    &[
        "This does not lead anywhere. I will leave it at that.",
        "I do not think that you can help me. Goodbye.",
        "I have to stop here. I will find another way.",
    ],
    &["I am sorry to say that this was of no help. Good day.", "I shall pursue this elsewhere. Goodbye."],
    &["Okay, this isn't working. I'm off.", "I give up, sorry. Bye."],
    &["Forget it.", "No use. Bye.", "I am done here."],
];
pub(crate) const GIVES_UP_SHORT: &[&str] = &[
    "Enough. I will take this elsewhere.",
    "That was a waste of my time. Goodbye.",
    "I am not going to say it again. Goodbye.",
    "Forget it, I will go to somebody who can help.",
];
